package cloudformation

import (
	"context"
	"fmt"
)

// Kind is a type of resource.
type Kind struct {
	Provisioner
	CreateOnly []string // properties whose change replaces the resource
}

// Provisioner makes resources of one type. Its errors are the reasons that the CLI prints.
type Provisioner interface {
	// Create makes a resource. One that failed half-way is deleted if Made has its ID.
	Create(ctx context.Context, r Request) (Made, error)

	// Update changes a resource from r.Old to r.Properties. Another ID than r.ID means that there is a new one now, and the old one is to
	// be deleted.
	Update(ctx context.Context, r Request) (Made, error)

	// Delete removes a resource. One that is gone is no error.
	Delete(ctx context.Context, r Request) error
}

// Request is about one resource.
type Request struct {
	StackID, Stack, LogicalID, Type string

	ID         string         // empty at its creation
	Properties map[string]any // resolved
	Old        map[string]any // at an update
}

// Made is what came of a request.
type Made struct {
	ID         string         // what Ref gives
	Attributes map[string]any // what Fn::GetAtt gives
}

// Name is the resource's own name if the property gives it one, and a generated one as CloudFormation makes it.
func (r Request) Name(property string) string {
	if name, ok := r.Properties[property].(string); ok && name != "" {
		return name
	}
	return fmt.Sprintf("%.40s-%.24s-%s", r.Stack, r.LogicalID, unique())
}

// Text is a property that is text.
func (r Request) Text(property string) string {
	text, _ := r.Properties[property].(string)
	return text
}

// Recorded is a kind whose resources are only remembered: what they do plays no part. Ref gives the property name, or the ARN if
// refIsARN; the attribute Arn is made of the ARN format, whose verbs are region, account and name.
func Recorded(account, region, nameProperty, arnFormat string, refIsARN bool) Kind {
	return Kind{Provisioner: recorded{account, region, nameProperty, arnFormat, refIsARN}, CreateOnly: []string{nameProperty}}
}

type recorded struct {
	account, region, nameProperty, arnFormat string
	refIsARN                                 bool
}

func (k recorded) Create(_ context.Context, r Request) (Made, error) {
	made := Made{ID: r.Name(k.nameProperty), Attributes: map[string]any{}}
	if k.arnFormat == "" {
		return made, nil
	}
	arn := fmt.Sprintf(k.arnFormat, k.region, k.account, made.ID)
	made.Attributes["Arn"] = arn
	if k.refIsARN {
		made.ID = arn
	}
	return made, nil
}

func (k recorded) Update(_ context.Context, r Request) (Made, error) { return Made{ID: r.ID}, nil }

func (k recorded) Delete(context.Context, Request) error { return nil }
