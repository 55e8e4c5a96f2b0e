// Command function does what its event says, for the tests of lambdahost.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	switch os.Getenv("INIT") {
	case "exit":
		fmt.Println("no luck today")
		os.Exit(4)
	case "error":
		to := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/init/error"
		response, err := http.Post(to, "application/json", strings.NewReader(`{"errorType": "Init.Failed", "errorMessage": "no settings"}`))
		if err != nil || response.StatusCode != http.StatusAccepted {
			os.Exit(5)
		}
		select {}
	}
	lambda.Start(answer)
}

func answer(ctx context.Context, event json.RawMessage) (any, error) {
	var request events.APIGatewayV2HTTPRequest
	if json.Unmarshal(event, &request) == nil {
		return respond(request)
	}
	var order string
	if err := json.Unmarshal(event, &order); err != nil {
		return nil, err
	}
	switch order {
	case "echo":
		fmt.Println("this goes to the log")
		return os.Getenv("GREETING") + " " + order, nil
	case "pid":
		return os.Getpid(), nil
	case "exit":
		os.Exit(3)
	case "panic":
		panic("as asked")
	case "hang":
		select {}
	}
	return nil, errors.New("as asked")
}

func respond(r events.APIGatewayV2HTTPRequest) (any, error) {
	if r.RawPath == "/fail" {
		return nil, errors.New("as asked")
	}
	body := fmt.Sprintf("%s %s?%s base64=%t %s\xff", r.RequestContext.HTTP.Method, r.RawPath, r.RawQueryString, r.IsBase64Encoded, r.Body)
	return events.APIGatewayV2HTTPResponse{
		StatusCode: http.StatusTeapot, Headers: map[string]string{"X-One": r.Headers["x-one"]},
		Body: base64.StdEncoding.EncodeToString([]byte(body)), IsBase64Encoded: true,
	}, nil
}
