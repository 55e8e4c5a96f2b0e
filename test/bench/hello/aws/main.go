// Command aws is the least that an AWS Lambda function with the same SDK clients can be, for the publisher to stand beside.
package main

import (
	"bytes"
	"context"
	"log"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// event names an object to read and write; none for a greeting.
type event struct{ Bucket, Key *string }

func main() {
	settings, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	client := s3.NewFromConfig(settings)
	lambda.Start(func(ctx context.Context, e event) (string, error) {
		if e.Key == nil {
			return "hello", nil
		}
		object, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: e.Bucket, Key: e.Key})
		if err != nil {
			return "", err
		}
		defer object.Body.Close()
		_, err = client.PutObject(ctx, &s3.PutObjectInput{Bucket: e.Bucket, Key: e.Key, Body: bytes.NewReader([]byte("hello")), IfMatch: object.ETag})
		return "hello", err
	})
}
