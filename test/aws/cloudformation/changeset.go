package cloudformation

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation/template"
)

// noChanges are the words by which the CLI knows that there is nothing to do.
const noChanges = "The submitted information didn't contain changes. Submit different information to create a change set."

type changeSet struct {
	name, id, status, reason, execution string
	creating                            bool
	target                              deployment
	changes                             []resourceChange
}

type resourceChange struct {
	Action      string `xml:"ResourceChange>Action"`
	ID          string `xml:"ResourceChange>LogicalResourceId"`
	PhysicalID  string `xml:"ResourceChange>PhysicalResourceId,omitempty"`
	Type        string `xml:"ResourceChange>ResourceType"`
	Replacement string `xml:"ResourceChange>Replacement,omitempty"`
	Kind        string `xml:"Type"`
}

type createdChangeSet struct {
	ID      string `xml:"Id"`
	StackID string `xml:"StackId"`
}

func (d *Double) createChangeSet(parameters url.Values) (any, error) {
	target, err := d.readTarget(parameters)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	name, creating := parameters.Get("StackName"), parameters.Get("ChangeSetType") == "CREATE"
	s, err := d.find(name)
	switch {
	case err != nil && !creating:
		return nil, err
	case err != nil:
		s = &stack{name: name, created: time.Now(), resources: map[string]*resource{}}
		s.id = fmt.Sprintf("arn:aws:cloudformation:%s:%s:stack/%s/%s", d.options.Region, d.options.Account, name, uuid())
		s.become(reviewInProgress, "User Initiated")
		d.stacks = append(d.stacks, s)
	case s.busy() || strings.HasSuffix(s.status, "_FAILED") || s.status == "ROLLBACK_COMPLETE":
		return nil, &apiError{"ValidationError", fmt.Sprintf("Stack:%s is in %s state and can not be updated.", s.id, s.status)}
	case creating && s.status != reviewInProgress:
		return nil, &apiError{"AlreadyExistsException", fmt.Sprintf("Stack [%s] already exists", name)}
	}
	c := &changeSet{
		name: parameters.Get("ChangeSetName"), creating: creating, target: target, changes: s.compare(d.options.Kinds, target),
		status: "CREATE_COMPLETE", execution: "AVAILABLE",
	}
	c.id = fmt.Sprintf("arn:aws:cloudformation:%s:%s:changeSet/%s/%s", d.options.Region, d.options.Account, c.name, uuid())
	if !creating && len(c.changes) == 0 && s.sameOutputs(target) {
		c.status, c.execution, c.reason = "FAILED", "UNAVAILABLE", noChanges
	}
	s.changeSets = append(s.changeSets, c)
	return createdChangeSet{c.id, s.id}, nil
}

// readTarget reads a template, which the CLI has uploaded or sends along, with its parameters and tags.
func (d *Double) readTarget(parameters url.Values) (deployment, error) {
	target := deployment{body: parameters.Get("TemplateBody"), parameters: map[string]string{}}
	if address := parameters.Get("TemplateURL"); address != "" {
		u, err := url.Parse(address)
		if err != nil {
			return target, &apiError{"ValidationError", err.Error()}
		}
		bucket, key := bucketAndKey(u.Path)
		if host, _, ok := strings.Cut(u.Host, ".s3."); ok {
			bucket, key = host, strings.TrimPrefix(u.Path, "/")
		}
		file, ok := d.assets.get(bucket, key)
		if !ok {
			return target, &apiError{"ValidationError", "S3 error: the template was not uploaded: " + address}
		}
		target.body = string(file)
	}
	var err error
	if target.template, err = template.Parse([]byte(target.body)); err != nil {
		return target, err
	}
	for _, t := range members(parameters, "Tags", "Key", "Value") {
		target.tags = append(target.tags, tag{t["Key"], t["Value"]})
	}
	return target, target.fill(members(parameters, "Parameters", "ParameterKey", "ParameterValue", "UsePreviousValue"))
}

// fill gives every parameter of the template its value.
func (t *deployment) fill(given []map[string]string) error {
	for name, parameter := range t.template.Parameters {
		if parameter.Default != nil {
			t.parameters[name] = fmt.Sprint(parameter.Default)
		}
		if strings.HasPrefix(parameter.Type, "AWS::SSM::Parameter::Value<") {
			if !bootstrapParameter(t.parameters[name]) {
				return &apiError{"ValidationError", fmt.Sprintf("Unable to fetch parameters [%s] from parameter store", t.parameters[name])}
			}
			t.parameters[name] = bootstrapVersion
		}
	}
	for _, p := range given {
		parameter, known := t.template.Parameters[p["ParameterKey"]]
		switch {
		case !known:
			return &apiError{"ValidationError", fmt.Sprintf("Parameters: [%s] do not exist in the template", p["ParameterKey"])}
		case p["UsePreviousValue"] == "true" || strings.HasPrefix(parameter.Type, "AWS::SSM::"):
			continue // defaults are all that is ever given here
		}
		t.parameters[p["ParameterKey"]] = p["ParameterValue"]
	}
	for name := range t.template.Parameters {
		if _, filled := t.parameters[name]; !filled {
			return &apiError{"ValidationError", fmt.Sprintf("Parameters: [%s] must have values", name)}
		}
	}
	return nil
}

// compare says what a deployment would do, as far as the templates tell.
func (s *stack) compare(kinds map[string]Kind, target deployment) []resourceChange {
	var found []resourceChange
	sameParameters := maps.Equal(s.now.parameters, target.parameters)
	for _, id := range slices.Sorted(maps.Keys(target.template.Resources)) {
		definition := target.template.Resources[id]
		before, exists := s.resources[id]
		switch {
		case !exists:
			found = append(found, resourceChange{Action: "Add", ID: id, Type: definition.Type, Kind: "Resource"})
		case !sameParameters || !reflect.DeepEqual(before.definition, definition):
			replacement := "False"
			if changes(kinds[definition.Type].CreateOnly, before.definition.Properties, definition.Properties) {
				replacement = "True"
			}
			found = append(found, resourceChange{"Modify", id, before.made.ID, definition.Type, replacement, "Resource"})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.resources)) {
		if _, stays := target.template.Resources[id]; !stays {
			r := s.resources[id]
			found = append(found, resourceChange{"Remove", id, r.made.ID, r.definition.Type, "", "Resource"})
		}
	}
	return found
}

func (s *stack) sameOutputs(target deployment) bool {
	return reflect.DeepEqual(s.now.template.Outputs, target.template.Outputs) && slices.Equal(s.now.tags, target.tags)
}

// changeSet finds one by its ID, or by its name among those of a stack. Deleted stacks have none.
func (d *Double) changeSet(parameters url.Values) (*stack, *changeSet, error) {
	name := parameters.Get("ChangeSetName")
	for _, s := range d.stacks {
		of := parameters.Get("StackName")
		for _, c := range s.changeSets {
			if s.status != deleteComplete && (c.id == name || c.name == name && (s.name == of || s.id == of)) {
				return s, c, nil
			}
		}
	}
	return nil, nil, &apiError{"ChangeSetNotFound", fmt.Sprintf("ChangeSet [%s] does not exist", name)}
}

type describedChangeSet struct {
	ChangeSetName   string
	ChangeSetID     string `xml:"ChangeSetId"`
	StackName       string
	StackID         string `xml:"StackId"`
	Status          string
	StatusReason    string `xml:",omitempty"`
	ExecutionStatus string
	Changes         []resourceChange `xml:"Changes>member"`
}

func (d *Double) describeChangeSet(parameters url.Values) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, c, err := d.changeSet(parameters)
	if err != nil {
		return nil, err
	}
	return describedChangeSet{c.name, c.id, s.name, s.id, c.status, c.reason, c.execution, c.changes}, nil
}

func (d *Double) executeChangeSet(parameters url.Values) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, c, err := d.changeSet(parameters)
	switch {
	case err != nil:
		return nil, err
	case parameters.Get("DisableRollback") == "true":
		return nil, &apiError{"ValidationError", "the stand-in always rolls back"}
	case c.execution != "AVAILABLE" || s.busy():
		return nil, &apiError{"InvalidChangeSetStatus", fmt.Sprintf("ChangeSet [%s] cannot be executed in its current status of [%s]", c.id, c.status)}
	}
	c.execution = "EXECUTE_COMPLETE"
	verb := "UPDATE"
	if c.creating {
		verb = "CREATE"
	}
	s.begin(verb+"_IN_PROGRESS", "User Initiated")
	d.run(s, func() { d.deploy(s, c.target, c.creating) })
	return struct{}{}, nil
}

func (d *Double) deleteChangeSet(parameters url.Values) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, c, err := d.changeSet(parameters)
	if err != nil {
		return struct{}{}, nil // deleting what is not there succeeds
	}
	s.changeSets = slices.DeleteFunc(s.changeSets, func(other *changeSet) bool { return other == c })
	return struct{}{}, nil
}
