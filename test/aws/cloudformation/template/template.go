// Package template reads CloudFormation templates: what they hold, in which order their resources can be made, and what their
// expressions come to.
//
// It is the part of a CloudFormation stand-in that needs no cloud. What it does not know it refuses: a template that is accepted is one of
// which nothing was left out.
package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// ErrTemplate means that a template can't be used; the error says where and why.
var ErrTemplate = errors.New("the template is not valid")

// Deletion policies of resources.
const (
	Delete               = "Delete"
	Retain               = "Retain"
	RetainExceptOnCreate = "RetainExceptOnCreate"
)

// Template is a CloudFormation template.
type Template struct {
	AWSTemplateFormatVersion string
	Description              string
	Metadata                 map[string]any
	Parameters               map[string]Parameter
	Mappings                 map[string]map[string]map[string]any
	Conditions               map[string]any
	Rules                    map[string]any
	Resources                map[string]Resource
	Outputs                  map[string]Output
}

// Parameter is a value the template is given.
type Parameter struct {
	Type        string
	Default     any
	Description string
	NoEcho      bool
}

// Resource is one thing to make. Its properties hold expressions.
type Resource struct {
	Type                string
	Properties          map[string]any
	DependsOn           names
	Condition           string
	DeletionPolicy      string
	UpdateReplacePolicy string
	Metadata            map[string]any
}

// Output is a value the stack gives.
type Output struct {
	Description string
	Condition   string
	Value       any
	Export      struct{ Name any }
}

// names is one name or a list of them.
type names []string

func (n *names) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*n = names{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(n))
}

// Parse reads a template in JSON.
func Parse(data []byte) (*Template, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var t Template
	if err := decoder.Decode(&t); err != nil {
		return nil, fmt.Errorf("%w: %w (only JSON is read)", ErrTemplate, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows it", ErrTemplate)
	}
	return &t, t.check()
}

func (t *Template) check() error {
	if len(t.Resources) == 0 {
		return fmt.Errorf("%w: it has no resources", ErrTemplate)
	}
	for _, id := range slices.Sorted(maps.Keys(t.Resources)) {
		r := t.Resources[id]
		if r.Type == "" {
			return fmt.Errorf("%w: the resource %s has no Type", ErrTemplate, id)
		}
		if err := t.checkCondition(id, r.Condition); err != nil {
			return err
		}
		for _, policy := range []string{r.DeletionPolicy, r.UpdateReplacePolicy} {
			if !slices.Contains([]string{"", Delete, Retain, RetainExceptOnCreate}, policy) {
				return fmt.Errorf("%w: the resource %s has the policy %q, which is not known here", ErrTemplate, id, policy)
			}
		}
	}
	for id, output := range t.Outputs {
		if err := t.checkCondition(id, output.Condition); err != nil {
			return err
		}
	}
	_, err := t.Order()
	return err
}

func (t *Template) checkCondition(id, condition string) error {
	if _, known := t.Conditions[condition]; condition != "" && !known {
		return fmt.Errorf("%w: %s has the condition %s, which is not among Conditions", ErrTemplate, id, condition)
	}
	return nil
}
