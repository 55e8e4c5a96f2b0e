package stackfile

import (
	"encoding/json"
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

// Policy is a policy as its owner wrote it.
type Policy struct {
	Name     string   `json:"name"     yaml:"name"`
	Document Document `json:"document" yaml:"document"`
}

// Document is a policy of IAM, which is JSON written as YAML.
type Document map[string]any

// policyVersion is the version of IAM's language. The older one takes variables for text.
const policyVersion = "2012-10-17"

// UnmarshalYAML takes 2012-10-17 for the text that is meant, not for the date that it is to YAML, and refuses what JSON can't say.
func (d *Document) UnmarshalYAML(node *yaml.Node) error {
	asText(node)
	refuse := func(err error) error {
		return &settings.LineError{Line: node.Line, Err: fmt.Errorf("%w: want the policy as JSON or YAML, with Version: %q and Statement", err, policyVersion)}
	}
	var value map[string]any
	if err := node.Decode(&value); err != nil {
		return refuse(err)
	}
	if _, err := json.Marshal(value); err != nil {
		return refuse(fmt.Errorf("JSON has no such thing: %w", err))
	}
	if value["Version"] != policyVersion || value["Statement"] == nil {
		return refuse(errors.New("this is no policy"))
	}
	*d = value
	return nil
}

// asText makes the dates among the values text.
func asText(node *yaml.Node) {
	if node.Kind == yaml.ScalarNode && node.ShortTag() == "!!timestamp" {
		node.Tag = "!!str"
	}
	for _, child := range node.Content {
		asText(child)
	}
}
