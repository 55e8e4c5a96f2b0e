package doctor_test

import (
	"context"
	"slices"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/cli/doctor"
	"github.com/kube-iam-assume/kube-iam-assume/cli/registration"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/aws"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/azure"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/gcp"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/vault"
)

// cloud says what it is told to.
type cloud struct {
	findings []registration.Finding
	asked    registration.Wanted
}

func (c *cloud) Examine(_ context.Context, w registration.Wanted) []registration.Finding {
	c.asked = w
	return c.findings
}

// answerable are the checks that readers answer.
func answerable() []string {
	return slices.Concat(aws.Checks(), gcp.Checks(), azure.Checks(), vault.Checks())
}

// Every answer of a cloud has its check, and every check of a cloud somebody who answers it.
func TestEveryAnswerHasItsCheck(t *testing.T) {
	t.Parallel()
	var checks []string
	for _, c := range run(newWorld(t)).Checks {
		if ofClouds(c) {
			checks = append(checks, c.ID)
		}
	}
	if answers := answerable(); !slices.Equal(answers, checks) {
		t.Errorf("readers answer %v, the checks are %v", answers, checks)
	}
}

// What a cloud says becomes the check's status: the worst counts. What was denied is neither broken nor well.
func TestWhatCloudsSay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.options.Workload = "shop/payments"
	for _, id := range answerable() {
		well, doubt := registration.Ok(id, "well"), registration.Warn(id, "Look.", "a doubt")
		denied, wrong := registration.Unseen(id, "Allow it.", "denied"), registration.Break(id, "Repair it.", "wrong")
		for _, test := range []struct {
			said []registration.Finding
			want doctor.Result
		}{
			{nil, doctor.Result{Status: doctor.Skipped}},
			{[]registration.Finding{well}, doctor.Result{Status: doctor.OK, Detail: "well"}},
			{[]registration.Finding{doubt, well}, doctor.Result{Status: doctor.Warn, Detail: "a doubt", Remedy: "Look."}},
			{[]registration.Finding{doubt, denied}, doctor.Result{Status: doctor.Unknown, Detail: "denied", Remedy: "Allow it."}},
			{[]registration.Finding{wrong, well, denied, wrong}, doctor.Result{Status: doctor.Broken, Detail: "wrong; wrong", Remedy: "Repair it."}},
		} {
			reader := &cloud{findings: test.said}
			for _, other := range answerable() { // of what it may need
				if other != id {
					reader.findings = append(reader.findings, registration.Ok(other, "well"))
				}
			}
			w.options.Clouds = []registration.Reader{reader}
			report := run(w)
			got, _ := report.Check(id)
			if got.Status != test.want.Status || got.Remedy != test.want.Remedy || test.want.Detail != "" && got.Detail != test.want.Detail {
				t.Errorf("%s: %+v, want %+v", id, got, test.want)
			}
			well := test.want.Status != doctor.Broken && test.want.Status != doctor.Unknown
			if report.Healthy != well || (report.First == id) != (test.want.Status == doctor.Broken) {
				t.Errorf("%s is %s: healthy is %t, the first broken link %q", id, test.want.Status, report.Healthy, report.First)
			}
			if reader.asked.Issuer != issuer || reader.asked.Subject != "system:serviceaccount:shop:payments" || reader.asked.Cluster != "prod" || len(reader.asked.Keys) != 1 {
				t.Errorf("it was asked for %+v", reader.asked)
			}
		}
	}
}
