package cloudformation

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
)

var actions = map[string]map[string]action{
	"sts": {"AssumeRole": (*Double).assumeRole, "GetCallerIdentity": (*Double).getCallerIdentity},
	"cloudformation": {
		"CreateChangeSet":             (*Double).createChangeSet,
		"DeleteChangeSet":             (*Double).deleteChangeSet,
		"DeleteStack":                 (*Double).deleteStack,
		"DescribeChangeSet":           (*Double).describeChangeSet,
		"DescribeStackEvents":         (*Double).describeStackEvents,
		"DescribeStackResources":      (*Double).describeStackResources,
		"DescribeStacks":              (*Double).describeStacks,
		"ExecuteChangeSet":            (*Double).executeChangeSet,
		"GetTemplate":                 (*Double).getTemplate,
		"GetTemplateSummary":          (*Double).getTemplateSummary,
		"ListStackResources":          (*Double).listStackResources,
		"UpdateTerminationProtection": (*Double).updateTerminationProtection,
	},
}

type describedStack struct {
	StackName                   string
	StackID                     string `xml:"StackId"`
	StackStatus                 string
	StackStatusReason           string `xml:",omitempty"`
	CreationTime                string
	LastUpdatedTime             string
	EnableTerminationProtection bool
	Outputs                     []output    `xml:"Outputs>member"`
	Tags                        []tag       `xml:"Tags>member"`
	Parameters                  []parameter `xml:"Parameters>member"`
}

type parameter struct{ ParameterKey, ParameterValue string }

type describedStacks struct {
	Stacks []describedStack `xml:"Stacks>member"`
}

func (d *Double) describeStacks(parameters url.Values) (any, error) {
	if name := parameters.Get("StackName"); name != "" {
		return d.describeStack(name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var answer describedStacks
	for _, s := range d.stacks {
		if s.status != deleteComplete {
			answer.Stacks = append(answer.Stacks, s.describe())
		}
	}
	return answer, nil
}

func (d *Double) describeStack(name string) (any, error) {
	d.mu.Lock()
	s, err := d.find(name)
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	d.settled(s)
	d.mu.Lock()
	defer d.mu.Unlock()
	if s, err = d.find(name); err != nil { // it was deleted, and had been asked for by its name
		return nil, err
	}
	return describedStacks{[]describedStack{s.describe()}}, nil
}

func (s *stack) describe() describedStack {
	described := describedStack{
		StackName: s.name, StackID: s.id, StackStatus: s.status, StackStatusReason: s.reason, CreationTime: stamp(s.created),
		LastUpdatedTime: stamp(s.updated), EnableTerminationProtection: s.protected, Outputs: s.outputs, Tags: s.now.tags,
	}
	for _, name := range slices.Sorted(maps.Keys(s.now.parameters)) {
		described.Parameters = append(described.Parameters, parameter{name, s.now.parameters[name]})
	}
	return described
}

func (d *Double) describeStackEvents(parameters url.Values) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.find(parameters.Get("StackName"))
	if err != nil {
		return nil, err
	}
	newest := slices.Clone(s.events)
	slices.Reverse(newest)
	return struct {
		Events []event `xml:"StackEvents>member"`
	}{newest}, nil
}

type stackResource struct {
	StackName  string
	StackID    string `xml:"StackId"`
	ID         string `xml:"LogicalResourceId"`
	PhysicalID string `xml:"PhysicalResourceId"`
	Type       string `xml:"ResourceType"`
	Status     string `xml:"ResourceStatus"`
	Timestamp  string
	Updated    string `xml:"LastUpdatedTimestamp"`
}

func (s *stack) list() []stackResource {
	var found []stackResource
	for _, id := range slices.Sorted(maps.Keys(s.resources)) {
		r := s.resources[id]
		found = append(found, stackResource{s.name, s.id, id, r.made.ID, r.definition.Type, r.status, stamp(r.changed), stamp(r.changed)})
	}
	return found
}

func (d *Double) describeStackResources(parameters url.Values) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.find(parameters.Get("StackName"))
	if err != nil {
		return nil, err
	}
	return struct {
		Resources []stackResource `xml:"StackResources>member"`
	}{s.list()}, nil
}

func (d *Double) listStackResources(parameters url.Values) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.find(parameters.Get("StackName"))
	if err != nil {
		return nil, err
	}
	return struct {
		Resources []stackResource `xml:"StackResourceSummaries>member"`
	}{s.list()}, nil
}

func (d *Double) getTemplate(parameters url.Values) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.find(parameters.Get("StackName"))
	if err != nil {
		return nil, err
	}
	return struct{ TemplateBody string }{s.now.body}, nil
}

func (d *Double) getTemplateSummary(parameters url.Values) (any, error) {
	target, err := d.readTarget(parameters)
	if err != nil {
		return nil, err
	}
	var types []string
	for _, r := range target.template.Resources {
		types = append(types, r.Type)
	}
	slices.Sort(types)
	return struct {
		Types []string `xml:"ResourceTypes>member"`
	}{slices.Compact(types)}, nil
}

func (d *Double) updateTerminationProtection(parameters url.Values) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.find(parameters.Get("StackName"))
	if err != nil {
		return nil, err
	}
	s.protected = parameters.Get("EnableTerminationProtection") == "true"
	return struct {
		ID string `xml:"StackId"`
	}{s.id}, nil
}

func (d *Double) deleteStack(parameters url.Values) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.find(parameters.Get("StackName"))
	switch {
	case err != nil:
		return struct{}{}, nil // deleting what is not there succeeds
	case s.protected:
		return nil, &apiError{"ValidationError", fmt.Sprintf("Stack [%s] cannot be deleted while TerminationProtection is enabled", s.name)}
	case s.busy():
		return nil, &apiError{"ValidationError", fmt.Sprintf("Stack [%s] is in %s state", s.name, s.status)}
	}
	s.begin("DELETE_IN_PROGRESS", "User Initiated")
	d.run(s, func() { d.destroy(s) })
	return struct{}{}, nil
}

// Unprotect lets a stack be deleted, as `aws cloudformation update-termination-protection` does.
func (d *Double) Unprotect(stack string) error {
	_, err := d.updateTerminationProtection(url.Values{"StackName": {stack}, "EnableTerminationProtection": {"false"}})
	return err
}
