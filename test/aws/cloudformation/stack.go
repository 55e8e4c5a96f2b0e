package cloudformation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation/template"
)

// Statuses that decide something; the others are only told.
const (
	reviewInProgress = "REVIEW_IN_PROGRESS"
	deleteComplete   = "DELETE_COMPLETE"
)

// longPoll is how long DescribeStacks waits for the end of what goes on: the CLI asks every five seconds only.
const longPoll = 15 * time.Second

// stack is guarded by the double's mutex, except while an operation runs: then that alone changes resources.
type stack struct {
	name, id, status, reason string
	created, updated         time.Time
	protected                bool
	now                      deployment
	outputs                  []output
	resources                map[string]*resource
	events                   []event
	changeSets               []*changeSet
	operation                string        // ID of what goes on, or went on last; its roll-back is another one
	ended                    chan struct{} // closed when what goes on is over; nil before the first operation
}

// deployment is what a stack is to be.
type deployment struct {
	template   *template.Template
	body       string
	parameters map[string]string
	tags       []tag
}

// resource is one that exists. It is never changed: another takes its place.
type resource struct {
	definition template.Resource
	made       Made
	properties map[string]any
	status     string
	changed    time.Time
}

type output struct {
	Key         string `xml:"OutputKey"`
	Value       string `xml:"OutputValue"`
	Description string `xml:"Description,omitempty"`
	Export      string `xml:"ExportName,omitempty"`
}

type tag struct{ Key, Value string }

type event struct {
	StackID    string `xml:"StackId"`
	ID         string `xml:"EventId"`
	Stack      string `xml:"StackName"`
	LogicalID  string `xml:"LogicalResourceId"`
	PhysicalID string `xml:"PhysicalResourceId"`
	Type       string `xml:"ResourceType"`
	Timestamp  string
	Status     string `xml:"ResourceStatus"`
	Reason     string `xml:"ResourceStatusReason,omitempty"`
	Operation  string `xml:"OperationId,omitempty"`
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// tell records an event of a resource.
func (d *Double) tell(s *stack, id, kind, physical, status, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.tell(id, kind, physical, status, reason)
}

func (s *stack) tell(id, kind, physical, status, reason string) {
	s.events = append(s.events, event{
		StackID: s.id, ID: id + "-" + uuid(), Stack: s.name, LogicalID: id, PhysicalID: physical, Type: kind,
		Timestamp: stamp(time.Now()), Status: status, Reason: reason, Operation: s.operation,
	})
}

// become gives the stack a status, and tells.
func (d *Double) become(s *stack, status, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.become(status, reason)
}

// begin begins an operation, or its roll-back. The mutex is held.
func (s *stack) begin(status, reason string) {
	s.operation = uuid()
	s.become(status, reason)
}

func (s *stack) become(status, reason string) {
	s.status, s.reason, s.updated = status, reason, time.Now()
	s.tell(s.name, "AWS::CloudFormation::Stack", s.id, status, reason)
}

// run carries an operation out. The mutex is held.
func (d *Double) run(s *stack, operation func()) {
	s.ended = make(chan struct{})
	ended := s.ended
	d.running.Go(func() {
		defer close(ended)
		operation()
	})
}

// settled waits until nothing goes on, but no longer than a client would wait for an answer.
func (d *Double) settled(s *stack) {
	d.mu.Lock()
	ended := s.ended
	d.mu.Unlock()
	if ended == nil {
		return
	}
	timer := time.NewTimer(longPoll)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
}

func (s *stack) busy() bool {
	return strings.HasSuffix(s.status, "_IN_PROGRESS") && s.status != reviewInProgress
}

// find returns a stack by its name, which the deleted ones no longer have, or its ID.
func (d *Double) find(name string) (*stack, error) {
	for _, s := range slices.Backward(d.stacks) {
		if s.id == name || s.name == name && s.status != deleteComplete {
			return s, nil
		}
	}
	return nil, &apiError{"ValidationError", fmt.Sprintf("Stack with id %s does not exist", name)}
}

// scope is what expressions may speak of while a stack is being made.
func (d *Double) scope(s *stack, of deployment) template.Scope {
	values := map[string]any{
		"AWS::AccountId": d.options.Account, "AWS::Region": d.options.Region, "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com",
		"AWS::StackName": s.name, "AWS::StackId": s.id, "AWS::NotificationARNs": []any{},
	}
	for name, value := range of.parameters {
		values[name] = value
	}
	get := func(id string) (*resource, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if r, ok := s.resources[id]; ok {
			return r, nil
		}
		return nil, fmt.Errorf("%w: the resource %s does not exist", template.ErrTemplate, id)
	}
	return template.Scope{
		Values: values,
		Ref: func(id string) (any, error) {
			r, err := get(id)
			if err != nil {
				return nil, err
			}
			return r.made.ID, nil
		},
		Attribute: func(id, name string) (any, error) {
			r, err := get(id)
			if err != nil {
				return nil, err
			}
			if value, ok := r.made.Attributes[name]; ok {
				return value, nil
			}
			return nil, fmt.Errorf("%w: %s (%s) has no attribute %s here, only %q",
				template.ErrTemplate, id, r.definition.Type, name, slices.Sorted(maps.Keys(r.made.Attributes)))
		},
	}
}
