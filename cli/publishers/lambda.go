package publishers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
)

// invoker invokes a Lambda function and waits for its answer. The log's tail, which Lambda would give with it, is not asked for.
type invoker struct {
	client   *lambda.Client
	function string
}

func openLambda(ctx context.Context, l Lambda) (door, error) {
	options := []func(*config.LoadOptions) error{
		config.WithRegion(functionARN.FindStringSubmatch(l.Function)[1]), config.WithLogger(logging.Nop{}), // what matters is in the errors
	}
	if l.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(l.Profile))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err == nil {
		_, err = loaded.Credentials.Retrieve(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%w to AWS: %w: log in (aws sso login, AWS_PROFILE), or name the profile in the publisher's settings", ErrLogin, err)
	}
	client := lambda.NewFromConfig(loaded, func(o *lambda.Options) {
		o.Retryer = aws.NopRetryer{} // Send does it, for every cloud alike
		o.HTTPClient = newClient()
	})
	return invoker{client, l.Function}, nil
}

func (i invoker) send(ctx context.Context, order []byte) ([]byte, error) {
	answer, err := i.client.Invoke(ctx, &lambda.InvokeInput{
		FunctionName: &i.function, Payload: order, InvocationType: types.InvocationTypeRequestResponse, LogType: types.LogTypeNone,
	})
	if err != nil {
		return nil, i.explain(err)
	}
	if answer.FunctionError != nil {
		return nil, functionError(answer.Payload)
	}
	return answer.Payload, nil
}

// explain tells apart what Lambda itself answered. The function was not run, or not to its end.
func (i invoker) explain(err error) error {
	if errors.Is(err, ErrNoDoor) {
		return err
	}
	var said smithy.APIError
	if !errors.As(err, &said) {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	switch said.ErrorCode() {
	case "AccessDeniedException":
		return fmt.Errorf("%w: %s: whoever is logged in needs lambda:InvokeFunction on %s", ErrForbidden, said.ErrorMessage(), i.function)
	case "ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "MissingAuthenticationTokenException":
		return fmt.Errorf("%w to AWS: %s: %s: log in again", ErrLogin, said.ErrorCode(), said.ErrorMessage())
	case "ResourceNotFoundException":
		return fmt.Errorf("%w: there is no function %s: the stack's outputs have its ARN", ErrNoDoor, i.function)
	case "InvalidRequestContentException", "RequestTooLargeException", "InvalidParameterValueException":
		return fmt.Errorf("%w: %s: %s", ErrRefused, said.ErrorCode(), said.ErrorMessage())
	}
	return fmt.Errorf("%w: %s: %s", ErrUnreachable, said.ErrorCode(), said.ErrorMessage())
}

// functionError reads what the function itself answered as an error, or Lambda in its place, if it crashed or ran out of time.
func functionError(payload []byte) error {
	var told struct {
		Type    string `json:"errorType"`
		Message string `json:"errorMessage"`
	}
	if len(payload) > maxOutcome || json.Unmarshal(payload, &told) != nil || told.Message == "" {
		return fmt.Errorf("%w: the function failed and does not say why: its log does", ErrUnreachable)
	}
	message := strings.ToValidUTF8(told.Message[:min(len(told.Message), 2000)], "")
	if strings.HasPrefix(told.Type, "Runtime.") || strings.HasPrefix(told.Type, "Sandbox.") || strings.Contains(message, "Task timed out") {
		return fmt.Errorf("%w: the function did not get to its end: %s: %s", ErrUnreachable, told.Type, message)
	}
	return fmt.Errorf("%w: %s", ErrRefused, message)
}

// newClient is for doors: no redirects, and no more bytes than an outcome has.
func newClient() *http.Client {
	return &http.Client{
		Timeout: attemptLimit, Transport: bounded{transport()},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
