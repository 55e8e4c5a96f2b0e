package federation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"time"

	"google.golang.org/api/iam/v1"
)

// attempts is how often a request is made whose answer is a passing fault. The library makes each once.
const attempts = 4

var operationName = regexp.MustCompile(`^projects/[^/]+/locations/global/workloadIdentityPools/[^/]+/providers/[^/]+/operations/[-_A-Za-z0-9]+$`)

// write replaces the keys and nothing else, and returns when Google has done it. It may be made twice: it says what the keys are, not what
// changes.
func (p *Provider) write(ctx context.Context, wanted string) error {
	body := &iam.WorkloadIdentityPoolProvider{Oidc: &iam.Oidc{JwksJson: wanted}}
	var operation *iam.Operation
	err := p.try(ctx, func() (err error) {
		operation, err = p.service.Patch(p.name, body).UpdateMask("oidc.jwksJson").Context(ctx).Do()
		return err
	})
	if err != nil {
		return explain(ctx, err, updatePermission)
	}
	return p.wait(ctx, operation)
}

// wait asks after an operation until it is over, less and less often.
func (p *Provider) wait(ctx context.Context, operation *iam.Operation) error {
	for attempt := 0; !operation.Done; attempt++ {
		name := operation.Name
		if !operationName.MatchString(name) {
			return fmt.Errorf("the write was answered with no operation to ask after (%q): the next reconcile looks again", shorten(name))
		}
		if !p.rest(ctx, attempt) {
			return fmt.Errorf("%s is still running (%w): it may well succeed, and the next reconcile looks again", name, ctx.Err())
		}
		err := p.try(ctx, func() (err error) {
			operation, err = p.service.Operations.Get(name).Context(ctx).Do()
			return err
		})
		if err != nil {
			return fmt.Errorf("asking after %s: %w", name, explain(ctx, err, getPermission))
		}
	}
	if failure := operation.Error; failure != nil {
		return failed(failure)
	}
	return nil
}

// The codes of google.rpc.Code that have a remedy of their own.
const (
	rpcCancelled         = 1
	rpcPermissionDenied  = 7
	rpcResourceExhausted = 8
	rpcAborted           = 10
)

// failed says why an operation ended without success.
func failed(status *iam.Status) error {
	message := shorten(status.Message)
	switch status.Code {
	case rpcPermissionDenied:
		return fmt.Errorf("the change was denied: %s: %s", message, remedyFor(updatePermission))
	case rpcResourceExhausted:
		return fmt.Errorf("the change failed for a quota: %s: %s", message, quotaRemedy)
	case rpcCancelled, rpcAborted:
		return fmt.Errorf("the change was broken off by another: %s: the next reconcile tries again", message)
	}
	return fmt.Errorf("the change failed (code %d): %s: the next reconcile tries again", status.Code, message)
}

// try makes a request again while its fault may pass.
func (p *Provider) try(ctx context.Context, request func() error) error {
	for attempt := 1; ; attempt++ {
		err := request()
		if err == nil || attempt == attempts || !passing(ctx, err) {
			return err
		}
		if !p.rest(ctx, attempt) {
			return errors.Join(err, ctx.Err())
		}
	}
}

// rest waits before another attempt. It reports false if the time is over.
func (p *Provider) rest(ctx context.Context, attempt int) bool {
	timer := time.NewTimer(p.pause(attempt))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// pause doubles from a quarter of a second to two, less up to a half, so that several publishers don't step together.
func pause(attempt int) time.Duration {
	most := 250 * time.Millisecond << min(attempt, 3)
	return most - rand.N(most/2) //nolint:gosec // it spreads load and guards nothing
}
