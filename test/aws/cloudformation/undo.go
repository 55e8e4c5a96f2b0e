package cloudformation

import (
	"context"
	"errors"
	"slices"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation/template"
)

// cleanUp deletes what an update left over: resources that were replaced, and those the template no longer has, the last made first. As with
// CloudFormation, what can't be deleted is told and left.
func (o *operation) cleanUp(ctx context.Context) {
	for _, s := range slices.Backward(o.steps) {
		if s.replaced {
			_ = o.remove(ctx, s.id, s.before, s.before.definition.UpdateReplacePolicy == template.Retain) // told
		}
	}
	for _, id := range o.backwards(o.before) {
		r := o.get(id)
		if o.wanted[id] || r == nil {
			continue
		}
		_ = o.remove(ctx, id, r, retained(r, false)) // told
		o.put(id, nil)
	}
}

// undoCreation deletes what a failed creation made.
func (o *operation) undoCreation(ctx context.Context) error {
	var failed error
	for _, s := range slices.Backward(o.steps) {
		if err := o.remove(ctx, s.id, s.after, retained(s.after, true)); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		o.put(s.id, nil)
	}
	return failed
}

// undoUpdate brings every resource back to what it was, in the order of what they need: a function before the custom resource that calls it.
func (o *operation) undoUpdate(ctx context.Context) error {
	order, err := o.before.template.Order()
	if err != nil {
		return err
	}
	var failed error
	for _, id := range order {
		at := slices.IndexFunc(o.steps, func(s step) bool { return s.id == id })
		if at < 0 {
			continue
		}
		s := o.steps[at]
		if s.replaced || s.before == nil {
			o.put(id, s.before)
			continue
		}
		o.tell(o.stack, id, s.before.definition.Type, s.after.made.ID, "UPDATE_IN_PROGRESS", "")
		back, err := o.update(ctx, id, s.before.definition, s.before.properties, s.after)
		o.put(id, back)
		o.tell(o.stack, id, s.before.definition.Type, back.made.ID, back.status, message(err))
		failed = errors.Join(failed, err)
	}
	return failed
}

// discard deletes what a failed update made new.
func (o *operation) discard(ctx context.Context) {
	for _, s := range slices.Backward(o.steps) {
		if s.before != nil && !s.replaced {
			continue
		}
		_ = o.remove(ctx, s.id, s.after, false) // told
		if s.before == nil {
			o.put(s.id, nil)
		}
	}
}

// destroy deletes a stack.
func (d *Double) destroy(s *stack) {
	o := &operation{Double: d, stack: s, before: s.now, target: s.now}
	var failed error
	for _, id := range o.backwards(s.now) {
		r := o.get(id)
		if r == nil {
			continue
		}
		if err := o.remove(d.ctx, id, r, retained(r, false)); err != nil {
			failed = &failure{id, err}
			break
		}
		o.put(id, nil)
	}
	if failed != nil {
		d.become(s, "DELETE_FAILED", reasonOf(failed))
		return
	}
	d.become(s, deleteComplete, "")
}

// backwards lists a deployment's resources so that each comes before those it needs.
func (o *operation) backwards(of deployment) []string {
	if of.template == nil {
		return nil
	}
	order, err := of.template.Order()
	if err != nil {
		return nil // it could not have been deployed
	}
	slices.Reverse(order)
	return order
}

func retained(r *resource, creating bool) bool {
	policy := r.definition.DeletionPolicy
	return policy == template.Retain || policy == template.RetainExceptOnCreate && !creating
}

// remove deletes one resource, or tells that it is kept.
func (o *operation) remove(ctx context.Context, id string, r *resource, keep bool) error {
	kind := r.definition.Type
	if keep {
		o.tell(o.stack, id, kind, r.made.ID, "DELETE_SKIPPED", "")
		return nil
	}
	o.tell(o.stack, id, kind, r.made.ID, "DELETE_IN_PROGRESS", "")
	provisioner, err := o.kind(kind)
	if err == nil {
		err = provisioner.Delete(ctx, o.request(id, kind, r.made, r.properties, nil))
	}
	o.tell(o.stack, id, kind, r.made.ID, ending("DELETE", err), message(err))
	return err
}
