package doctor_test

import (
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/cli/doctor"
)

// The chart's admission policies keep tokens of the exporter's account from who runs doctor. Nothing is broken by that, so nothing may be red:
// what needs such a token is skipped and says why, and the rest is looked at.
func TestAdmissionPoliciesAreNoFault(t *testing.T) {
	t.Parallel()
	for _, reason := range []metav1.StatusReason{metav1.StatusReasonForbidden, metav1.StatusReasonInvalid} {
		t.Run(string(reason), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.each(func(s *fakeServer) { s.policy = reason })
			report := run(w)
			if !report.Healthy || report.Counts[doctor.Warn] != 0 {
				first, _ := report.Check(report.First)
				t.Errorf("%d warnings, and broken is %+v", report.Counts[doctor.Warn], first)
			}
			for id, want := range map[string]doctor.Result{
				"tokens.issued":      {Status: doctor.Skipped, Detail: "ValidatingAdmissionPolicy 'kube-iam-assume-cluster-exporter-tokens'"},
				"tokens.signing-key": {Status: doctor.Skipped, Detail: "tokens.issued"},
				"tokens.lifetime":    {Status: doctor.Skipped, Detail: "tokens.issued"},
				"tokens.attestation": {Status: doctor.OK},
				"tokens.rights":      {Status: doctor.OK},
				"publisher.trust":    {Status: doctor.Skipped, Detail: "tokens.signing-key"},
				"jwks.signing":       {Status: doctor.Skipped, Detail: "tokens.signing-key"},
				"jwks.complete":      {Status: doctor.OK},
				"exchange.token":     {Status: doctor.Skipped, Detail: "ValidatingAdmissionPolicy"},
				"exchange.verified":  {Status: doctor.Skipped, Detail: "exchange.token"},
			} {
				if got, _ := report.Check(id); got.Status != want.Status || !strings.Contains(got.Detail, want.Detail) {
					t.Errorf("%s: %+v, want %s that says %q", id, got, want.Status, want.Detail)
				}
			}
		})
	}
}

// A policy excuses itself alone: what other accounts get is tried, and what RBAC refuses on another server is broken.
func TestAdmissionPoliciesExcuseNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.each(func(s *fakeServer) { s.policy = metav1.StatusReasonForbidden })
	w.options.Workload = "shop/payments"
	if got, _ := run(w).Check("exchange.verified"); got.Status != doctor.OK {
		t.Error(got)
	}
	w.servers[1].status["/api/v1/"] = http.StatusForbidden
	report := run(w)
	got, _ := report.Check("tokens.issued")
	if report.First != "tokens.issued" || !strings.Contains(got.Detail, "may not create tokens") || strings.Contains(got.Detail, "Policy") {
		t.Error(got)
	}
	w.options.Workload = ""
	if got, _ := run(w).Check("exchange.token"); got.Status != doctor.Broken {
		t.Error(got)
	}
}
