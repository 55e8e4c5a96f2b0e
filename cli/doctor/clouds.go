package doctor

import (
	"context"
	"slices"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/cli/registration"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

func awsChecks() []check {
	return answered([]check{{
		id: "aws.provider", question: "Does the AWS account know the issuer?", needs: []string{"issuer.known"},
		how:    "iam:GetOpenIDConnectProvider of the issuer; if it is not there, iam:ListOpenIDConnectProviders for one that differs in case or in a slash.",
		remedy: "`kube-iam-assume setup aws` registers it.",
	}, {
		id: "aws.audience", question: "Does the identity provider take the audience?", needs: []string{"aws.provider"},
		how:    "Looks for --aws-audience among its client IDs, and for audiences that every pod's default token has.",
		remedy: "`kube-iam-assume setup aws` adds it.",
	}, {
		id: "aws.trust", question: "Does a role let the workload in?", needs: []string{"aws.provider"},
		how:    "Evaluates the trust policies of --aws-role, or of all roles that name the issuer (iam:ListRoles), for the subject and the audience as IAM does.",
		remedy: "`kube-iam-assume setup aws --service-account` makes the role.",
	}, {
		id: "aws.conditions", question: "Do those roles let in nobody else?", needs: []string{"aws.provider"},
		how:    "Tries a subject that nobody has, and an audience that nobody takes. A trust policy without the subject is open to every pod of the cluster.",
		remedy: "Write the trust policy as `kube-iam-assume trust aws` prints it.",
	}}, "--aws")
}

func gcpChecks() []check { return nil }

func azureChecks() []check { return nil }

func vaultChecks() []check { return nil }

// answered are checks of what a cloud said. Without its flag, nobody asked it.
func answered(checks []check, flag string) []check {
	for i := range checks {
		id := checks[i].id
		checks[i].look = func(e *evidence) finding { return e.answer(id, flag) }
	}
	return checks
}

func (e *evidence) gatherClouds(ctx context.Context) {
	if e.issuer == "" {
		return
	}
	w := registration.Wanted{Issuer: e.issuer, Keys: e.published}
	if e.options.Workload != "" {
		w.Subject = snapshot.Subject(e.options.Workload)
	}
	if c, err := trust.ParseCluster(e.issuer); err == nil {
		w.Cluster = c.ID
	}
	if e.settings != nil {
		w.Cluster = e.settings.Cluster
	}
	for _, reader := range e.options.Clouds {
		e.clouds = append(e.clouds, reader.Examine(ctx, w)...)
	}
}

// answer is the worst that a cloud said of a check. What is broken hides what is merely in doubt.
func (e *evidence) answer(id, flag string) finding {
	worst := registration.Well
	var said []registration.Finding
	for _, f := range e.clouds {
		if f.Check == id {
			said, worst = append(said, f), max(worst, f.Status)
		}
	}
	var details, remedies []string
	for _, f := range said {
		if f.Status == worst {
			details = append(details, f.Detail)
			if !slices.Contains(remedies, f.Remedy) && f.Remedy != "" {
				remedies = append(remedies, f.Remedy)
			}
		}
	}
	status := map[registration.Status]Status{registration.Well: OK, registration.Doubtful: Warn, registration.Unknown: Unknown, registration.Broken: Broken}[worst]
	switch {
	case len(said) > 0:
		return finding{status, strings.Join(details, "; "), strings.Join(remedies, " ")}
	case len(e.options.Clouds) > 0 && e.options.Workload == "":
		return skip("no %s, or no --service-account", flag)
	}
	return skip("no %s", flag)
}
