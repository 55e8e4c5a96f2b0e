package publishers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// maxOutputs is the largest file of stacks' outputs that is read, in bytes.
const maxOutputs = 4 << 20

var (
	// ErrNone means that outputs name no operator's door.
	ErrNone = errors.New("no operator's door")

	// ErrOutputs means that outputs are not what a stack writes, or that what they lack was not given.
	ErrOutputs = errors.New("stacks' outputs")
)

// Missing is what outputs may not say of a function app; operator_audience and operator_tenant_id of the outputs go before it.
type Missing struct {
	Audience, TenantID string
}

// Find returns the publishers in the file of `cdk deploy --outputs-file`, or in what `terraform output -json` prints. AWS's stack says its own whole;
// Terraform's modules say the door (operate_url), and the publisher's name in the exporters' values. The errors are ErrNone and ErrOutputs.
func Find(outputs []byte, missing Missing) ([]Publisher, error) {
	if len(outputs) > maxOutputs {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrOutputs, maxOutputs)
	}
	var content any
	if err := json.Unmarshal(outputs, &content); err != nil {
		return nil, fmt.Errorf("%w: no JSON: want the file of cdk deploy --outputs-file, or what terraform output -json prints", ErrOutputs)
	}
	found, err := search(content, missing)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%w in it: want the file of cdk deploy --outputs-file with Publisher, or what terraform output -json prints with operate_url, which is null while the door is shut", ErrNone)
	}
	return found, err
}

// search looks into objects, lists, and texts that are JSON themselves, as stacks' outputs are.
func search(content any, missing Missing) ([]Publisher, error) {
	switch content := content.(type) {
	case string:
		var inner map[string]any
		if strings.HasPrefix(content, "{") && json.Unmarshal([]byte(content), &inner) == nil {
			return search(inner, missing)
		}
	case []any:
		return searchAll(content, missing)
	case map[string]any:
		if content["name"] != nil && (content["lambda"] != nil || content["cloudRun"] != nil || content["functionApp"] != nil) {
			p, err := whole(content)
			return []Publisher{p}, err
		}
		if place, ok := output(content["operate_url"]).(string); ok {
			p, err := byURL(place, content, missing)
			return []Publisher{p}, err
		}
		var members []any
		for _, name := range slices.Sorted(maps.Keys(content)) {
			members = append(members, content[name])
		}
		return searchAll(members, missing)
	}
	return nil, nil
}

func searchAll(members []any, missing Missing) ([]Publisher, error) {
	var all []Publisher
	for _, member := range members {
		found, err := search(member, missing)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// output is the value of one of Terraform's outputs, which it may wrap.
func output(value any) any {
	if wrapped, ok := value.(map[string]any); ok && wrapped["sensitive"] != nil {
		return wrapped["value"]
	}
	return value
}

// whole reads a publisher as publishers.yaml has it.
func whole(content map[string]any) (Publisher, error) {
	text, err := json.Marshal(content)
	if err != nil {
		return Publisher{}, err
	}
	var p Publisher
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		return Publisher{}, fmt.Errorf("%w: publisher %v: %w: a stack of another version wrote it", ErrOutputs, content["name"], err)
	}
	if p.CloudRun != nil && len(p.CloudRun.TokenCommand) > 0 {
		return Publisher{}, fmt.Errorf("%w: publisher %s: a tokenCommand: no stack says which program to run here: write it into publishers.yaml yourself", ErrOutputs, p.Name)
	}
	return p, checked(p)
}

// byURL tells the doors of Google Cloud and Azure apart by their URL: a function app has its door at a path, a service of Cloud Run is one.
func byURL(place string, outputs map[string]any, missing Missing) (Publisher, error) {
	name := publisherIn(outputs)
	if name == "" {
		return Publisher{}, fmt.Errorf("%w: beside operate_url %s no output says the publisher's name: output the module's exporters as well", ErrOutputs, place)
	}
	if audience, ok := output(outputs["operator_audience"]).(string); ok {
		missing.Audience = audience
	}
	if id, ok := output(outputs["operator_tenant_id"]).(string); ok {
		missing.TenantID = id
	}
	p := Publisher{Name: name}
	u, err := url.Parse(place)
	switch {
	case err != nil:
		return Publisher{}, fmt.Errorf("%w: operate_url %q is no URL", ErrOutputs, place)
	case strings.TrimSuffix(u.Path, "/") == "":
		p.CloudRun = &CloudRun{URL: place}
	case missing.Audience == "":
		return Publisher{}, fmt.Errorf("%w: the function app %s: no output operator_audience says the audience of operators' tokens: give --audience, the application ID URI of the app registration", ErrOutputs, place)
	default:
		p.FunctionApp = &FunctionApp{URL: place, Audience: missing.Audience, TenantID: missing.TenantID}
	}
	return p, checked(p)
}

func checked(p Publisher) error {
	if _, err := p.check(); err != nil {
		return fmt.Errorf("%w: publisher %s: %w", ErrOutputs, p.Name, err)
	}
	return nil
}

// publisherIn is the first publisher's name in the exporters' values, however deep.
func publisherIn(content any) string {
	switch content := content.(type) {
	case string:
		var inner map[string]any
		if strings.HasPrefix(content, "{") && json.Unmarshal([]byte(content), &inner) == nil {
			return publisherIn(inner)
		}
	case []any:
		for _, member := range content {
			if name := publisherIn(member); name != "" {
				return name
			}
		}
	case map[string]any:
		if name, ok := content["publisher"].(string); ok && (content["webhook"] != nil || content["pubsub"] != nil || content["storageQueue"] != nil) {
			return name
		}
		for _, member := range slices.Sorted(maps.Keys(content)) {
			if name := publisherIn(content[member]); name != "" {
				return name
			}
		}
	}
	return ""
}

// merge puts the publishers of several files together. A door that is named twice is one. The error is ErrOutputs.
func merge(all []Publisher) ([]Publisher, error) {
	var merged []Publisher
	for _, p := range all {
		i := slices.IndexFunc(merged, func(known Publisher) bool { return known.Name == p.Name || known.Where() == p.Where() })
		switch {
		case i < 0:
			merged = append(merged, p)
		case merged[i].Name != p.Name || merged[i].Where() != p.Where():
			return nil, fmt.Errorf("%w: publisher %s at %s, and publisher %s at %s: each needs a name and a door of its own", ErrOutputs, merged[i].Name, merged[i].Where(), p.Name, p.Where())
		}
	}
	return merged, nil
}
