package provision

import (
	"context"
	"fmt"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation"
)

// schedule is one of EventBridge Scheduler. Its time never comes by itself: see Account.Tick.
type schedule struct{ target, role, input string }

type schedules struct{ *Account }

func (k schedules) Create(_ context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	name := r.Name("Name")
	k.set(name, r.Properties)
	return cloudformation.Made{ID: name, Attributes: map[string]any{"Arn": k.arn("scheduler", "schedule/default/"+name)}}, nil
}

func (k schedules) set(name string, properties map[string]any) {
	target, _ := properties["Target"].(map[string]any)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.schedules[name] = &schedule{fmt.Sprint(target["Arn"]), fmt.Sprint(target["RoleArn"]), fmt.Sprint(target["Input"])}
}

func (k schedules) Update(_ context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	k.set(r.ID, r.Properties)
	return cloudformation.Made{ID: r.ID}, nil
}

func (k schedules) Delete(_ context.Context, r cloudformation.Request) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.schedules, r.ID)
	return nil
}

// Tick is the time of every schedule: each assumes its role and invokes its target, if the role may.
func (a *Account) Tick(ctx context.Context) error {
	a.mu.Lock()
	due := make([]schedule, 0, len(a.schedules))
	for _, s := range a.schedules {
		due = append(due, *s)
	}
	a.mu.Unlock()
	for _, s := range due {
		if _, err := a.assume(ctx, s.role, "scheduler.amazonaws.com", "schedule"); err != nil {
			return err
		}
		if err := a.Allowed(s.role, "lambda:InvokeFunction", s.target); err != nil {
			return err
		}
		if _, err := a.Invoke(ctx, s.target, []byte(s.input)); err != nil {
			return err
		}
	}
	return nil
}
