// Package values finds the exporter's values in what a stack says when it is deployed: the outputs file of `cdk deploy`, or `terraform output -json`. The
// stacks write them whole; this finds them, puts several clouds' together, and refuses what does not belong together.
package values

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

var (
	// ErrNone means that a file has no exporter's values in it.
	ErrNone = errors.New("no exporter's values")
	// ErrChoice means that there are values of several clusters, or of none with the ID that was asked for.
	ErrChoice = errors.New("which cluster?")
	// ErrConflict means that values do not belong together.
	ErrConflict = errors.New("the values contradict each other")
)

// MaxBytes is the largest file that is read.
const MaxBytes = 4 << 20

// Values are the exporter's, as the chart takes them.
type Values struct {
	Cluster        string        `json:"cluster"                  yaml:"cluster"`
	Issuer         string        `json:"issuer"                   yaml:"issuer"`
	ServiceAccount string        `json:"serviceAccount,omitempty" yaml:"serviceAccount,omitempty"`
	Destinations   []Destination `json:"destinations"             yaml:"destinations"`
}

// Destination is one publisher and the ways to it.
type Destination struct {
	Publisher    string        `json:"publisher"              yaml:"publisher"`
	Webhook      *Webhook      `json:"webhook,omitempty"      yaml:"webhook,omitempty"`
	SQS          *SQS          `json:"sqs,omitempty"          yaml:"sqs,omitempty"`
	PubSub       *PubSub       `json:"pubsub,omitempty"       yaml:"pubsub,omitempty"`
	StorageQueue *StorageQueue `json:"storageQueue,omitempty" yaml:"storageQueue,omitempty"`
}

// The ways to a publisher.
type (
	// Webhook is HTTPS.
	Webhook struct {
		URL string `json:"url" yaml:"url"`
	}
	// SQS is a queue of AWS.
	SQS struct {
		URL     string `json:"url"              yaml:"url"`
		Region  string `json:"region,omitempty" yaml:"region,omitempty"`
		RoleARN string `json:"roleARN"          yaml:"roleARN"`
	}
	// PubSub is a topic of Google.
	PubSub struct {
		Topic          string `json:"topic"                    yaml:"topic"`
		Provider       string `json:"provider"                 yaml:"provider"`
		ServiceAccount string `json:"serviceAccount,omitempty" yaml:"serviceAccount,omitempty"`
	}
	// StorageQueue is a queue of Azure.
	StorageQueue struct {
		URL      string `json:"url"      yaml:"url"`
		TenantID string `json:"tenantID" yaml:"tenantID"`
		ClientID string `json:"clientID" yaml:"clientID"`
	}
)

// Find returns all values in a file, however deep, by cluster. The errors are ErrNone and ErrConflict.
func Find(file []byte) ([]Values, error) {
	if len(file) > MaxBytes {
		return nil, fmt.Errorf("%w in it: more than %d bytes", ErrNone, MaxBytes)
	}
	var content any
	if err := json.Unmarshal(file, &content); err != nil {
		return nil, fmt.Errorf("%w in it: it is no JSON: want the file of cdk deploy --outputs-file, or what terraform output -json prints", ErrNone)
	}
	all, err := search(content)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%w in it: want the file of cdk deploy --outputs-file, or what terraform output -json prints", ErrNone)
	}
	return all, err
}

// search looks into objects, lists, and texts that are JSON themselves, as stacks' outputs are.
func search(value any) ([]Values, error) {
	switch value := value.(type) {
	case string:
		var inner map[string]any
		if strings.HasPrefix(value, "{") && json.Unmarshal([]byte(value), &inner) == nil {
			return search(inner)
		}
	case []any:
		return collect(slices.Values(value))
	case map[string]any:
		if value["cluster"] != nil && value["destinations"] != nil {
			v, err := read(value)
			return []Values{v}, err
		}
		var members []any
		for _, name := range slices.Sorted(maps.Keys(value)) {
			members = append(members, value[name])
		}
		return collect(slices.Values(members))
	}
	return nil, nil
}

func collect(members func(func(any) bool)) ([]Values, error) {
	var all []Values
	for each := range members {
		found, err := search(each)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// read is strict: a member that is not known here would be lost.
func read(object map[string]any) (Values, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return Values{}, err
	}
	var v Values
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&v); err != nil {
		return Values{}, fmt.Errorf("%w: values of cluster %v: %w: a stack of another version wrote them", ErrConflict, object["cluster"], err)
	}
	if v.Cluster == "" || v.Issuer == "" || len(v.Destinations) == 0 {
		return Values{}, fmt.Errorf("%w: values of cluster %q lack its ID, its issuer or a destination", ErrConflict, v.Cluster)
	}
	for _, d := range v.Destinations {
		if d.Publisher == "" || d.Webhook == nil && d.SQS == nil && d.PubSub == nil && d.StorageQueue == nil {
			return Values{}, fmt.Errorf("%w: a destination of cluster %s has no publisher, or no way to it", ErrConflict, v.Cluster)
		}
	}
	return v, nil
}

// Choose picks a cluster's values and puts those of several stacks together. An empty ID stands for the only cluster there is; a given issuer goes before
// what the stacks say, for publishers of which one is the mirror of the other. The errors are ErrChoice and ErrConflict.
func Choose(all []Values, cluster, issuer string) (Values, error) {
	var ids []string
	for _, v := range all {
		if !slices.Contains(ids, v.Cluster) {
			ids = append(ids, v.Cluster)
		}
	}
	slices.Sort(ids)
	if cluster == "" && len(ids) == 1 {
		cluster = ids[0]
	}
	if !slices.Contains(ids, cluster) {
		return Values{}, fmt.Errorf("%w There are %s: say --cluster ID", ErrChoice, strings.Join(ids, ", "))
	}
	var one Values
	for _, v := range all {
		if v.Cluster != cluster {
			continue
		}
		if err := one.add(v, issuer != ""); err != nil {
			return Values{}, fmt.Errorf("%w: cluster %s: %w", ErrConflict, cluster, err)
		}
	}
	if issuer != "" {
		one.Issuer = issuer
	}
	return one, nil
}

func (v *Values) add(other Values, anyIssuer bool) error {
	if v.Cluster == "" {
		*v = other
		return nil
	}
	if v.Issuer != other.Issuer && !anyIssuer {
		return fmt.Errorf("the issuer is %s and %s: an API server has one. If one publisher is the mirror of the other, say which URL the API servers have: --issuer URL", v.Issuer, other.Issuer)
	}
	if v.ServiceAccount != other.ServiceAccount {
		return fmt.Errorf("the exporter's service account is %s and %s", v.ServiceAccount, other.ServiceAccount)
	}
	for _, d := range other.Destinations {
		i := slices.IndexFunc(v.Destinations, func(known Destination) bool { return known.Publisher == d.Publisher })
		switch {
		case i < 0:
			v.Destinations = append(v.Destinations, d)
		case !reflect.DeepEqual(v.Destinations[i], d):
			return fmt.Errorf("two publishers have the name %s: give one another, by which snapshots are for one of them only", d.Publisher)
		}
	}
	return nil
}
