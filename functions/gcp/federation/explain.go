package federation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/api/googleapi"
)

const quotaRemedy = "the next reconcile tries again; if it lasts, look at the quotas of iam.googleapis.com in the pool's project and at who else uses them"

func remedyFor(permission string) string {
	return "give the function's service account a custom role with " + permission + " on the pool, and see that the provider exists " +
		"(Google says the same of one that does not)"
}

// passing reports whether a request that failed like this may soon succeed: Google is not well, or was not reached.
func passing(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.Is(err, errTooLarge) {
		return false
	}
	var answer *googleapi.Error
	if !errors.As(err, &answer) {
		return true
	}
	switch answer.Code {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// explain says what Google's answer means, and what would help. Of the answer only the message is repeated, and that cut.
func explain(ctx context.Context, err error, permission string) error {
	var answer *googleapi.Error
	switch {
	case !errors.As(err, &answer) && ctx.Err() != nil:
		return fmt.Errorf("no answer of Google in time: %w: the next reconcile tries again", err)
	case answer == nil && errors.Is(err, errTooLarge):
		return fmt.Errorf("%w: nothing was written; see what is in the provider", err)
	case answer == nil:
		return fmt.Errorf("no answer of Google: %w: may the function reach iam.googleapis.com, and does it run as a service account?", err)
	}
	message := shorten(answer.Message)
	if message == "" {
		message = http.StatusText(answer.Code)
	}
	switch answer.Code {
	case http.StatusUnauthorized:
		return fmt.Errorf("not logged in: %s: the function must run as a service account", message)
	case http.StatusForbidden:
		if reasonOf(answer) == "SERVICE_DISABLED" {
			return fmt.Errorf("the IAM API is off: %s: enable iam.googleapis.com in the function's project", message)
		}
		return fmt.Errorf("denied: %s: %s", message, remedyFor(permission))
	case http.StatusNotFound:
		return fmt.Errorf("there is none of this name: %s: create it, or correct workloadIdentityProvider in the publisher's settings", message)
	case http.StatusTooManyRequests:
		return fmt.Errorf("too many requests: %s: %s", message, quotaRemedy)
	case http.StatusConflict, http.StatusPreconditionFailed:
		return fmt.Errorf("another change is under way: %s: the next reconcile tries again", message)
	case http.StatusBadRequest:
		return fmt.Errorf("refused by Google: %s: if it is about the keys, report it to this project", message)
	}
	if passing(ctx, err) {
		return fmt.Errorf("not well: Google says HTTP %d: %s: the next reconcile tries again", answer.Code, message)
	}
	return fmt.Errorf("HTTP %d: %s: is this Google's API?", answer.Code, message)
}

// reasonOf is the reason in the answer's google.rpc.ErrorInfo.
func reasonOf(answer *googleapi.Error) string {
	for _, detail := range answer.Details {
		if info, ok := detail.(map[string]any); ok {
			if reason, ok := info["reason"].(string); ok {
				return reason
			}
		}
	}
	return ""
}

// shorten cuts what others wrote, at a character.
func shorten(s string) string {
	const most = 300
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
