package hosted

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws/lambdahost"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure/functionshost"
	"github.com/kube-iam-assume/kube-iam-assume/test/gcp"
	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

// AWS runs the Lambda function, with the settings of the site aws.
func (s *Sites) AWS() *lambdahost.Host {
	s.Helper()
	storage := aws.StartS3(s.T)
	storage.CreateBucket(s.T, documents, true)
	storage.CreateBucket(s.T, private, true)
	policy := `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::` + documents + `/*"}]}`
	bucket := documents
	if _, err := storage.Client().PutBucketPolicy(s.Context(), &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: &policy}); err != nil {
		s.Fatal(err)
	}
	s.Show("aws", storage.Endpoint+"/"+documents, nil)
	function, err := lambdahost.Start(s.Context(), lambdahost.Options{
		Bootstrap: s.Build("aws/bootstrap", "functions/aws"),
		Env:       append(storage.Environment(), "DOCUMENTS_BUCKET="+documents, "PRIVATE_BUCKET="+private, "SSL_CERT_FILE="+s.Network.Bundle),
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(function.Stop)
	return function
}

// A Door is one of the functions in Google Cloud, and the file of its log.
type Door struct{ URL, Log string }

// Google runs the function's doors with these targets, with the settings of the site gcp. They may still be starting.
func (s *Sites) Google(targets ...string) []Door {
	s.Helper()
	storage := gcp.StartStorage(s.T)
	storage.CreateBucket(s.T, documents, true)
	storage.CreateBucket(s.T, private, true)
	s.Show("gcp", storage.Endpoint+"/"+documents, nil)
	binary := s.Build("gcp/publisher", "functions/gcp")
	var doors []Door
	for _, target := range targets {
		port, err := process.FreePort("127.0.0.1")
		if err != nil {
			s.Fatal(err)
		}
		door := Door{fmt.Sprintf("http://127.0.0.1:%d/", port), filepath.Join(s.Folder, "gcp", target+".log")}
		p, err := process.Start(process.Program{Name: target, Binary: binary, Log: door.Log, Environment: append(storage.Environment(),
			"FUNCTION_TARGET="+target, fmt.Sprintf("PORT=%d", port), "LOCAL_ONLY=true", "GOOGLE_CLOUD_PROJECT=acme-prod",
			"DOCUMENTS_BUCKET="+documents, "PRIVATE_BUCKET="+private, "SSL_CERT_FILE="+s.Network.Bundle)})
		if err != nil {
			s.Fatal(err)
		}
		s.Cleanup(p.Kill)
		doors = append(doors, door)
	}
	return doors
}

// Azure runs the function app on a storage account, with the settings of the site azure and these app settings.
func (s *Sites) Azure(storage *azure.Storage, more map[string]string) *functionshost.Host {
	s.Helper()
	s.Show("azure", storage.CreateContainer(s.T, documents, true), storage.HTTPClient().Transport)
	settings := map[string]string{
		"DOCUMENTS_BUCKET": storage.ContainerURL(documents), "PRIVATE_BUCKET": storage.CreateContainer(s.T, private, false),
		"SSL_CERT_FILE": s.Write("azure-roots.pem", []byte(s.Read(storage.CAFile)+s.Read(s.Network.Bundle))),
	}
	for _, variable := range storage.Environment() {
		if name, value, _ := strings.Cut(variable, "="); name != "SSL_CERT_FILE" {
			settings[name] = value
		}
	}
	maps.Copy(settings, more)
	folder := functionshost.Build(s.T)
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(s.Folder, "azure"))); err != nil {
		s.Fatal(err)
	}
	host, err := functionshost.Start(s.Context(), functionshost.Options{Package: folder, Settings: settings, Client: storage.HTTPClient()})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		host.Stop()
		if s.Failed() {
			s.Logf("the function app:\n%s", host.Log())
		}
	})
	return host
}
