package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/cfn"

	"github.com/kube-iam-assume/kube-iam-assume/shared/function"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
)

const (
	resourceType  = "Custom::KubeIamAssumeDocuments"
	deployReserve = 8 * time.Second // of the function's time, to tell CloudFormation
)

var (
	// errVanished refuses a deploy that would leave keys published with nobody to answer for them.
	errVanished = errors.New("a cluster that has reported is missing from the settings")

	// errMoved refuses a deploy that would have CloudFormation replace the identity provider that a cluster's workloads log in by.
	errMoved = errors.New("the issuer of a cluster that has reported would change")
)

// properties are what the stack gives the resource. The digest of the settings is there to make a change of them an update.
type properties struct {
	issuers []string
}

// deploy answers CloudFormation. Whatever happened is told at the event's URL, so the invocation itself fails only if that was not
// possible, or if the event is none.
func (h *handler) deploy(ctx context.Context, payload []byte) ([]byte, error) {
	event, err := decode[cfn.Event](payload)
	if err != nil {
		return nil, err
	}
	if err := checkDeploy(event); err != nil {
		return nil, err
	}
	answer := cfn.NewResponse(&event)
	answer.Status, answer.PhysicalResourceID = cfn.StatusSuccess, physicalID(event)
	if err := function.Guarded(func() error { return h.apply(ctx, event) }); err != nil {
		answer.Status, answer.Reason = cfn.StatusFailed, brief(err)
		h.logger.ErrorContext(ctx, "a deploy failed", "event", "deploy.failed", "request", event.RequestType, "detail", err.Error())
	}
	return h.respond(ctx, event.ResponseURL, answer)
}

func checkDeploy(event cfn.Event) error {
	u, err := url.Parse(event.ResponseURL)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%w: its ResponseURL is no https URL", errEvent) // which is a secret
	}
	kinds := []cfn.RequestType{cfn.RequestCreate, cfn.RequestUpdate, cfn.RequestDelete}
	if !slices.Contains(kinds, event.RequestType) || event.StackID == "" || event.RequestID == "" || event.LogicalResourceID == "" {
		return fmt.Errorf("%w: want RequestType Create, Update or Delete, StackId, RequestId and LogicalResourceId", errEvent)
	}
	return nil
}

// physicalID never changes: another one would make CloudFormation delete the resource.
func physicalID(event cfn.Event) string {
	if event.PhysicalResourceID != "" {
		return event.PhysicalResourceID
	}
	return event.StackID + "/" + event.LogicalResourceID
}

// apply publishes what the settings say and waits until the world sees it. A deletion deletes nothing: tokens may still be out, and a stack that
// is made again finds its state. Settings of an older generation than the state's are a rolled back deploy, which must be able to
// end: the publisher raises generation.old and goes on.
func (h *handler) apply(ctx context.Context, event cfn.Event) error {
	switch {
	case event.RequestType == cfn.RequestDelete:
		return nil
	case event.ResourceType != resourceType:
		return fmt.Errorf("this function is for resources of type %s, not %.60q", resourceType, event.ResourceType)
	case h.unusable != nil:
		return h.unusable
	}
	now, err := propertiesOf(event.ResourceProperties)
	if err != nil {
		return err
	}
	old, _ := propertiesOf(event.OldResourceProperties) // none when it is created; whatever they are, they are the past
	ctx, cancel := before(ctx, deployReserve)
	defer cancel()
	if err := h.checkLeft(ctx, old.issuers); err != nil {
		return err
	}
	if err := h.publisher.Reconcile(ctx); err != nil {
		return err
	}
	for _, issuer := range now.issuers {
		if err := h.awaitPublic(ctx, issuer); err != nil {
			return err
		}
	}
	return nil
}

// checkLeft looks for clusters that the issuers of the deploy before this one would lose.
func (h *handler) checkLeft(ctx context.Context, issuers []string) error {
	vanished, err := h.publisher.Vanished(ctx, issuers...)
	if err != nil {
		return err
	}
	if len(vanished) > 0 {
		return fmt.Errorf("%w: %s. Put its file back with removed: true, deploy, and take it out after the retention",
			errVanished, strings.Join(vanished, ", "))
	}
	moved, err := h.publisher.Moved(ctx, issuers...)
	if err != nil {
		return err
	}
	if len(moved) > 0 {
		return fmt.Errorf("%w: %s. Its identity provider would be replaced, and AWS would refuse every token that its workloads have. Put the hosting back as it was; "+
			"for another issuer deploy a second stack under another name, move the clusters, then take this one away", errMoved, strings.Join(moved, ", "))
	}
	return nil
}

func propertiesOf(values map[string]any) (properties, error) {
	var p properties
	list, _ := values["Issuers"].([]any)
	if len(list) == 0 {
		return p, errors.New("the property Issuers is missing: want the URLs of the stack's issuers")
	}
	for _, value := range list {
		issuer, ok := value.(string)
		if !ok {
			return p, fmt.Errorf("the property Issuers holds %v: want URLs", value)
		}
		p.issuers = append(p.issuers, issuer)
	}
	return p, nil
}

// awaitPublic looks at an issuer's URL until a stranger gets there what is published, or the time is over.
func (h *handler) awaitPublic(ctx context.Context, issuer string) error {
	ticker := time.NewTicker(h.poll)
	defer ticker.Stop()
	var last error
	for {
		err := h.publisher.Public(ctx, issuer)
		switch {
		case err == nil:
			return nil
		case ctx.Err() == nil && !errors.Is(err, publish.ErrNotPublic):
			return err
		case ctx.Err() == nil || last == nil: // a look that the end of the time interrupted explains nothing
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w. %s", last, remedy(last))
		case <-ticker.C:
		}
	}
}

// remedy says what is most likely behind an issuer that the world does not see.
func remedy(err error) string {
	var (
		answer      *publish.StatusError
		host        *net.DNSError
		certificate x509.HostnameError
		authority   x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &answer) && answer.Code == http.StatusForbidden:
		return "Strangers are refused. If S3 Block Public Access is on for the account (BlockPublicPolicy, RestrictPublicBuckets), " +
			"turn these two off there, or choose hosting: {cloudFront: ...}, which needs no public bucket"
	case errors.As(err, &answer) && answer.Code/100 == 3:
		return "The URL leads elsewhere: the bucket is in another region than the issuer's name says"
	case errors.As(err, &answer) && answer.Code == http.StatusNotFound:
		return "The host serves another bucket or another path than the issuer's"
	case errors.As(err, &host):
		return "The issuer's host has no address yet: look at its DNS record and hosted zone, then deploy again"
	case errors.As(err, &certificate), errors.As(err, &authority):
		return "The issuer's host has not the certificate of its name: look at the certificate of the distribution"
	}
	return "If it is a cache on the way, deploy again when it has expired"
}

// brief keeps the reason within the 4,096 bytes of CloudFormation's answer.
func brief(err error) string {
	const most = 1500
	reason := err.Error()
	if len(reason) > most {
		reason = strings.ToValidUTF8(reason[:most], "") + " ... (the whole is in the function's log)"
	}
	return reason
}
