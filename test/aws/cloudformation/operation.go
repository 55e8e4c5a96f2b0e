package cloudformation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation/template"
)

// operation makes a stack what it is to be. One runs at a time for a stack.
type operation struct {
	*Double
	stack  *stack
	target deployment
	before deployment
	steps  []step
	wanted map[string]bool // by the target and its conditions
}

// step is what an operation did to one resource. A nil before means that it was made, and kept resources have no step.
type step struct {
	id            string
	before, after *resource
	replaced      bool // both exist
}

// deploy carries a change set out.
func (d *Double) deploy(s *stack, target deployment, creating bool) {
	o := &operation{Double: d, stack: s, target: target, before: s.now, wanted: map[string]bool{}}
	err := o.apply(d.ctx)
	if err == nil {
		err = o.finish()
	}
	switch {
	case err == nil && creating:
		d.become(s, "CREATE_COMPLETE", "")
	case err == nil:
		d.become(s, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "")
		o.cleanUp(d.ctx)
		d.become(s, "UPDATE_COMPLETE", "")
	case creating:
		d.rollBack(s, "ROLLBACK_IN_PROGRESS", reasonOf(err)+" Rollback requested by user.")
		d.become(s, ending("ROLLBACK", o.undoCreation(d.ctx)), "")
	default:
		d.rollBack(s, "UPDATE_ROLLBACK_IN_PROGRESS", reasonOf(err))
		err := o.undoUpdate(d.ctx)
		if err == nil {
			d.become(s, "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "")
			o.discard(d.ctx)
		}
		d.become(s, ending("UPDATE_ROLLBACK", err), "")
	}
}

func (d *Double) rollBack(s *stack, status, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.begin(status, reason)
}

func ending(what string, err error) string {
	if err != nil {
		return what + "_FAILED"
	}
	return what + "_COMPLETE"
}

// failure is a resource that could not be made; its reason has been told.
type failure struct {
	id     string
	reason error
}

func (f *failure) Error() string { return f.id + ": " + f.reason.Error() }
func (f *failure) Unwrap() error { return f.reason }

func reasonOf(err error) string {
	var failed *failure
	if errors.As(err, &failed) {
		return fmt.Sprintf("The following resource(s) failed: [%s].", failed.id)
	}
	return err.Error()
}

// apply makes and changes resources in order.
func (o *operation) apply(ctx context.Context) error {
	order, err := o.target.template.Order()
	if err != nil {
		return err
	}
	scope := o.scope(o.stack, o.target)
	for _, id := range order {
		definition := o.target.template.Resources[id]
		wanted, err := o.target.template.Wanted(definition.Condition, scope)
		if err != nil {
			return err
		}
		if !wanted {
			continue
		}
		o.wanted[id] = true
		if err := o.settle(ctx, id, definition, scope); err != nil {
			return &failure{id, err}
		}
	}
	return nil
}

// settle does to one resource what is needed.
func (o *operation) settle(ctx context.Context, id string, definition template.Resource, scope template.Scope) error {
	before := o.get(id)
	resolved, err := o.target.template.Resolve(definition.Properties, scope)
	if err != nil {
		o.tell(o.stack, id, definition.Type, "", o.verb(before)+"_FAILED", err.Error())
		return err
	}
	properties, _ := resolved.(map[string]any)
	kind, err := o.kind(definition.Type)
	switch {
	case err != nil:
		o.tell(o.stack, id, definition.Type, "", o.verb(before)+"_FAILED", err.Error())
		return err
	case before == nil:
		return o.make(ctx, id, definition, properties, nil)
	case before.definition.Type != definition.Type:
		return o.make(ctx, id, definition, properties, before)
	case reflect.DeepEqual(before.properties, properties):
		o.put(id, &resource{definition, before.made, properties, before.status, before.changed})
		return nil
	case changes(kind.CreateOnly, before.properties, properties):
		return o.make(ctx, id, definition, properties, before)
	}
	return o.change(ctx, id, definition, properties, before)
}

func (o *operation) verb(before *resource) string {
	if before == nil {
		return "CREATE"
	}
	return "UPDATE"
}

func changes(properties []string, before, after map[string]any) bool {
	return slices.ContainsFunc(properties, func(name string) bool { return !reflect.DeepEqual(before[name], after[name]) })
}

// kind is what makes a type; a kind whose name ends in * makes all that begin like it.
func (d *Double) kind(name string) (Kind, error) {
	if kind, ok := d.options.Kinds[name]; ok {
		return kind, nil
	}
	for pattern, kind := range d.options.Kinds {
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok && strings.HasPrefix(name, prefix) {
			return kind, nil
		}
	}
	return Kind{}, fmt.Errorf("resources of type %s can't be made here: the stand-in knows %q", name, slices.Sorted(maps.Keys(d.options.Kinds)))
}

func (o *operation) get(id string) *resource {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stack.resources[id]
}

func (o *operation) put(id string, r *resource) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r == nil {
		delete(o.stack.resources, id)
		return
	}
	o.stack.resources[id] = r
}

func (o *operation) request(id, kind string, made Made, properties, old map[string]any) Request {
	return Request{
		StackID: o.stack.id, Stack: o.stack.name, LogicalID: id, Type: kind, ID: made.ID, Properties: properties, Old: old,
	}
}

// make creates a resource, in the place of another if there is one.
func (o *operation) make(ctx context.Context, id string, definition template.Resource, properties map[string]any, before *resource) error {
	verb, reason := o.verb(before), ""
	if before != nil {
		reason = "Requested update requires the creation of a new physical resource; hence creating one."
	}
	o.tell(o.stack, id, definition.Type, "", verb+"_IN_PROGRESS", reason)
	kind, err := o.kind(definition.Type)
	if err != nil {
		return err
	}
	made, err := kind.Create(ctx, o.request(id, definition.Type, Made{}, properties, nil))
	after := &resource{definition, made, properties, ending(verb, err), time.Now()}
	if err == nil || made.ID != "" {
		o.put(id, after)
		o.steps = append(o.steps, step{id, before, after, before != nil})
	}
	o.tell(o.stack, id, definition.Type, made.ID, after.status, message(err))
	return err
}

// change updates a resource.
func (o *operation) change(ctx context.Context, id string, definition template.Resource, properties map[string]any, before *resource) error {
	o.tell(o.stack, id, definition.Type, before.made.ID, "UPDATE_IN_PROGRESS", "")
	after, err := o.update(ctx, id, definition, properties, before)
	o.put(id, after)
	o.steps = append(o.steps, step{id, before, after, after.made.ID != before.made.ID})
	o.tell(o.stack, id, definition.Type, after.made.ID, after.status, message(err))
	return err
}

// update asks the kind. What it does not tell anew stays.
func (o *operation) update(
	ctx context.Context, id string, definition template.Resource, properties map[string]any, before *resource,
) (*resource, error) {
	kind, err := o.kind(definition.Type)
	if err != nil {
		return before, err
	}
	made, err := kind.Update(ctx, o.request(id, definition.Type, before.made, properties, before.properties))
	if made.ID == "" {
		made.ID = before.made.ID
	}
	attributes := maps.Clone(before.made.Attributes)
	if attributes == nil {
		attributes = map[string]any{}
	}
	maps.Copy(attributes, made.Attributes)
	made.Attributes = attributes
	return &resource{definition, made, properties, ending("UPDATE", err), time.Now()}, err
}

func message(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

// finish works out the outputs; only then is the stack what the template says.
func (o *operation) finish() error {
	scope := o.scope(o.stack, o.target)
	var outputs []output
	for _, key := range slices.Sorted(maps.Keys(o.target.template.Outputs)) {
		definition := o.target.template.Outputs[key]
		wanted, err := o.target.template.Wanted(definition.Condition, scope)
		if err != nil {
			return fmt.Errorf("output %s: %w", key, err)
		}
		if !wanted {
			continue
		}
		value, err := o.target.template.Resolve(definition.Value, scope)
		if err != nil {
			return fmt.Errorf("output %s: %w", key, err)
		}
		outputs = append(outputs, output{Key: key, Value: fmt.Sprint(value), Description: definition.Description})
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stack.outputs, o.stack.now = outputs, o.target
	return nil
}
