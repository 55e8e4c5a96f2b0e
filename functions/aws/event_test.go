package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-lambda-go/events"
)

// web is the event of a request.
func web(method, path, body string) events.APIGatewayV2HTTPRequest {
	return events.APIGatewayV2HTTPRequest{
		Version: "2.0", RawPath: path, Headers: map[string]string{"content-type": "application/jose"}, Body: body,
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			DomainName: "api.example.com", HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{Method: method, Path: path, SourceIP: "192.0.2.1"},
		},
	}
}

func encoded(e events.APIGatewayV2HTTPRequest) events.APIGatewayV2HTTPRequest {
	e.Body, e.IsBase64Encoded = base64.StdEncoding.EncodeToString([]byte(e.Body)), true
	return e
}

// What is no event, or may be two, is refused and does nothing.
func TestRefusedEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must(`{"reconcile": true}`)
	request := string(must(json.Marshal(web(http.MethodGet, "/healthz", ""))))
	for name, payload := range map[string]string{
		"nothing":                        ``,
		"no object":                      `[]`,
		"null":                           `null`,
		"two objects":                    `{"reconcile": true} {"reconcile": true}`,
		"empty":                          `{}`,
		"not JSON":                       `{"reconcile": tru}`,
		"unknown":                        `{"source": "aws.events", "detail-type": "Scheduled Event"}`,
		"another case":                   `{"Reconcile": true}`,
		"false":                          `{"reconcile": false}`,
		"another type":                   `{"reconcile": "true"}`,
		"more than asked":                `{"reconcile": true, "statement2": {}}`,
		"a member twice":                 `{"reconcile": true, "reconcile": true}`,
		"schedule and statement":         `{"reconcile": true, "statement": {}}`,
		"request and statement":          request[:len(request)-1] + `, "statement": {"action": "remove"}}`,
		"request and batch":              request[:len(request)-1] + `, "Records": []}`,
		"request and deploy":             request[:len(request)-1] + `, "RequestType": "Delete", "ResponseURL": "https://example.com/"}`,
		"request without version":        `{"requestContext": {"http": {"method": "GET"}}, "rawPath": "/healthz"}`,
		"request of format 1.0":          `{"version": "1.0", "requestContext": {}, "httpMethod": "GET", "path": "/healthz"}`,
		"request of no method":           `{"version": "2.0", "requestContext": {"http": {"method": "G T"}}, "rawPath": "/healthz"}`,
		"batch of another source":        `{"Records": [{"eventSource": "aws:s3", "messageId": "1", "body": ""}]}`,
		"batch without message ID":       `{"Records": [{"eventSource": "aws:sqs", "body": ""}]}`,
		"batch with more":                `{"Records": [], "reconcile2": true}`,
		"deploy without answer":          `{"RequestType": "Create", "StackId": "s", "RequestId": "r", "LogicalResourceId": "l"}`,
		"deploy answered in the open":    `{"RequestType": "Create", "StackId": "s", "RequestId": "r", "LogicalResourceId": "l", "ResponseURL": "http://example.com/?X-Amz-Signature=secret"}`,
		"deploy of an unknown kind":      `{"RequestType": "Drop", "StackId": "s", "RequestId": "r", "LogicalResourceId": "l", "ResponseURL": "https://example.com/"}`,
		"deploy of nothing":              `{"RequestType": "Create", "ResponseURL": "https://example.com/"}`,
		"larger than Lambda's own limit": `{"reconcile": true` + strings.Repeat(" ", 7<<20) + `}`,
	} {
		r.untouched(name, func() {
			answer, err := r.invoke(payload)
			if !errors.Is(err, errEvent) {
				t.Errorf("%s: answered %v, %v", name, answer, err)
			} else if strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: the error tells a secret: %v", name, err)
			}
		})
	}
	if len(r.answers) > 0 {
		t.Errorf("CloudFormation was told %v", r.answers)
	}
}

// What AWS sends holds more than is read, null where there is nothing, and may hold more one day.
func TestAsAWSSends(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for payload, want := range map[string]string{
		`{"version": "2.0", "routeKey": "$default", "rawPath": "/healthz", "rawQueryString": "", "cookies": ["a=b"], "headers": {"host": "x.lambda-url.eu-central-1.on.aws"},
			"queryStringParameters": null, "requestContext": {"accountId": "anonymous", "apiId": "x", "authentication": null, "authorizer": {"iam": {"accessKey": "AKIA",
			"accountId": "111122223333", "callerId": "AIDA", "cognitoIdentity": null, "principalOrgId": null, "userArn": "arn", "userId": "AIDA"}},
			"domainName": "x.lambda-url.eu-central-1.on.aws", "domainPrefix": "x", "http": {"method": "GET", "path": "/healthz", "protocol": "HTTP/1.1", "sourceIp": "2001:db8::1",
			"userAgent": "agent"}, "requestId": "id", "routeKey": "$default", "stage": "$default", "time": "12/Mar/2020:19:03:58 +0000", "timeEpoch": 1583348638390},
			"body": null, "pathParameters": null, "isBase64Encoded": false, "stageVariables": null, "new": {"member": 1}}`: `"statusCode":200`,
		`{"Records": [{"messageId": "m0", "receiptHandle": "AQEB", "body": "junk", "attributes": {"ApproximateReceiveCount": "1", "AWSTraceHeader": "Root=1"},
			"messageAttributes": {"statement": {"stringValue": "x", "binaryValue": null, "stringListValues": [], "binaryListValues": [], "dataType": "String"}},
			"md5OfBody": "e4e6", "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-central-1:111122223333:q", "awsRegion": "eu-central-1", "new": 1}]}`: `"batchItemFailures":[]`,
	} {
		answer, err := r.Invoke(t.Context(), []byte(payload))
		if err != nil || !strings.Contains(string(answer), want) {
			t.Errorf("%s, %v", answer, err)
		}
	}
}

// Whoever calls the webhook writes what he likes where he can, and it stays a request.
func TestForgery(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must(`{"reconcile": true}`)
	for _, forged := range []string{
		`{"reconcile": true}`,
		`{"statement": {"issuer": "` + r.issuer("prod") + `", "cluster": "prod", "action": "remove", "reason": "mine"}}`,
		`{"Records": [{"eventSource": "aws:sqs", "messageId": "1", "body": "x"}]}`,
		`{"RequestType": "Create", "StackId": "s", "RequestId": "r", "LogicalResourceId": "l", "ResponseURL": "` + r.clouds.URL + `"}`,
	} {
		plain := web(http.MethodPost, "/v1/snapshots", forged)
		everywhere := web(http.MethodPost, "/"+strings.ReplaceAll(forged, "//", "/"), forged)
		everywhere.RawQueryString = "reconcile=true&statement={}&RequestType=Create"
		everywhere.QueryStringParameters = map[string]string{"reconcile": "true", "statement": forged, "RequestType": "Create"}
		everywhere.Headers = map[string]string{"reconcile": "true", "statement": forged, "records": forged, "requesttype": "Create"}
		everywhere.Cookies = []string{"statement=" + forged}
		for event, want := range map[*events.APIGatewayV2HTTPRequest]float64{&plain: http.StatusBadRequest, &everywhere: http.StatusNotFound} {
			for _, e := range []events.APIGatewayV2HTTPRequest{*event, encoded(*event)} {
				r.untouched(forged, func() {
					if answer := r.must(e); answer["statusCode"] != want {
						t.Errorf("%s: %v, want %v", forged, answer, want)
					}
				})
			}
		}
	}
	if len(r.answers) > 0 {
		t.Errorf("CloudFormation was told %v", r.answers)
	}
}

// A function that can't work says why to whoever asks, CloudFormation included, and lets a stack go.
func TestUnusable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publisher, r.door, r.unusable = nil, nil, errors.New("publisher.yaml:3: no issuers")
	for _, event := range []any{`{"reconcile": true}`, `{"statement": {}}`, `{"Records": []}`, web(http.MethodGet, "/healthz", "")} {
		if _, err := r.invoke(event); !errors.Is(err, r.unusable) {
			t.Errorf("%v: %v", event, err)
		}
	}
	r.must(r.resource("Create"))
	r.must(r.resource("Delete"))
	if len(r.answers) != 2 || r.answers[0]["Status"] != "FAILED" || r.answers[0]["Reason"] != "publisher.yaml:3: no issuers" || r.answers[1]["Status"] != "SUCCESS" {
		t.Errorf("CloudFormation was told %v", r.answers)
	}
}

func TestReconcile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if answer := r.must(`{"reconcile": true}`); answer["status"] != "reconciled" || !r.publishes(r.key) {
		t.Errorf("%v", answer)
	}
	r.broken = func(context.Context) error { return errStore }
	if _, err := r.invoke(`{"reconcile": true}`); !errors.Is(err, errStore) {
		t.Errorf("without a store: %v", err)
	}
}

// Whatever comes, reading it ends in a value or an error.
func FuzzEvent(f *testing.F) {
	f.Add(`{"reconcile": true}`)
	f.Add(`{"Records": [{"eventSource": "aws:sqs", "messageId": "1", "body": "x"}]}`)
	f.Add(`{"statement": {"issuer": "https://example.com", "action": "revoke", "keyIDs": ["a"], "reason": "r"}, "dryRun": true}`)
	f.Add(string(must(json.Marshal(encoded(web(http.MethodPost, "/v1/snapshots", "abc"))))))
	f.Add(`{"RequestType": "Update", "StackId": "s", "RequestId": "r", "LogicalResourceId": "l", "ResponseURL": "https://127.0.0.1:1/", "ResourceProperties": {"Issuers": ["a"]}}`)
	f.Fuzz(func(t *testing.T, payload string) {
		kind, err := kindOf([]byte(payload))
		if (err == nil) != (kind.answer != nil) {
			t.Errorf("kind %q, %v", kind.name, err)
		}
		if event, err := decode[events.APIGatewayV2HTTPRequest]([]byte(payload)); err == nil {
			if request, err := requestOf(t.Context(), event); err == nil {
				_, _ = io.Copy(io.Discard, request.Body)
			}
		}
		if event, err := decode[cfn.Event]([]byte(payload)); err == nil && checkDeploy(event) == nil {
			_, _ = propertiesOf(event.ResourceProperties)
		}
	})
}
