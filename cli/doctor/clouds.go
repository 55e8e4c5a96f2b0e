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

func gcpChecks() []check {
	return answered([]check{{
		id: "gcp.pool", question: "Is there the Workload Identity pool?", needs: []string{"issuer.known"},
		how:    "iam.workloadIdentityPools.get: that it is there, neither deleted nor disabled.",
		remedy: "`kube-iam-assume setup gcp` makes it.",
	}, {
		id: "gcp.provider", question: "Does the pool know the issuer?", needs: []string{"gcp.pool"},
		how:    "iam.workloadIdentityPoolProviders.get of --gcp-provider, or of the pool's provider of the issuer: its issuer byte for byte, and its state.",
		remedy: "`kube-iam-assume setup gcp` makes it.",
	}, {
		id: "gcp.audience", question: "Does the provider take the audience?", needs: []string{"gcp.provider"},
		how:    "Looks for --gcp-audience among its audiences, which are its own name unless some are set, and for audiences that every pod's default token has.",
		remedy: "Project the token with an audience that the provider takes.",
	}, {
		id: "gcp.keys", question: "Are uploaded keys those that are published?", needs: []string{"gcp.provider"},
		how:    "Compares the provider's jwksJson with the published keys. Where there is one, Google fetches nothing, and unless a publisher keeps it a rotation leaves it stale.",
		remedy: "Let the publisher in Google Cloud keep them (workloadIdentityProvider), or upload the published keys again.",
	}, {
		id: "gcp.mapping", question: "Does the provider map the token as grants expect?", needs: []string{"gcp.provider"},
		how:    "Compares the attribute mapping with the one that setup writes. A mapping without the cluster makes equal names of two clusters one principal.",
		remedy: "`kube-iam-assume setup gcp` brings it up to date.",
	}, {
		id: "gcp.condition", question: "Does the provider's condition let the workload in?", needs: []string{"gcp.provider"},
		how:    "Reads the conditions that setup writes. Others are shown, not evaluated.",
		remedy: "`kube-iam-assume setup gcp --service-account` adds it.",
	}, {
		id: "gcp.grant", question: "May the workload act as Google's service account?", needs: []string{"gcp.provider"},
		how:    "iam.serviceAccounts.getIamPolicy of --gcp-impersonate: roles/iam.workloadIdentityUser for the workload's principal. Grants elsewhere it does not see.",
		remedy: "`kube-iam-assume setup gcp --impersonate` grants it.",
	}}, "--gcp-pool")
}

func azureChecks() []check {
	return answered([]check{{
		id: "entra.identity", question: "Is there the identity, or the application?", needs: []string{"issuer.known"},
		how:    "Reads it from Azure's resource manager, or from Microsoft Graph.",
		remedy: "`kube-iam-assume setup azure` makes an identity.",
	}, {
		id: "entra.room", question: "Is there room for more federated credentials?", needs: []string{"entra.identity"},
		how:    "Counts them: at most are 20.",
		remedy: "Use another identity with the same rights.",
	}, {
		id: "entra.credential", question: "Does a federated credential let the workload in?", needs: []string{"entra.identity"},
		how:    "Compares issuer and subject byte for byte, as Entra does since August 2024; says which one differs in case or in a slash.",
		remedy: "`kube-iam-assume setup azure --service-account` writes it.",
	}, {
		id: "entra.audience", question: "Does it take the audience?", needs: []string{"entra.credential"},
		how:    "Looks for --azure-audience, api://AzureADTokenExchange in the public cloud.",
		remedy: "`kube-iam-assume setup azure` corrects it.",
	}}, "--azure-identity or --azure-application")
}

func vaultChecks() []check {
	return answered([]check{{
		id: "vault.mount", question: "Is there the JWT auth method?", needs: []string{"issuer.known"},
		how:    "Reads auth/MOUNT/config with VAULT_TOKEN. Vault denies what is not there, too, to who may not read it.",
		remedy: "`kube-iam-assume setup vault` makes it.",
	}, {
		id: "vault.issuer", question: "Is the issuer bound?", needs: []string{"vault.mount"},
		how:    "Compares bound_issuer byte for byte.",
		remedy: "`kube-iam-assume setup vault` binds it.",
	}, {
		id: "vault.keys", question: "Does it take the published keys?", needs: []string{"vault.mount"},
		how:    "Where it reads keys (oidc_discovery_url, jwks_url), or whether keys that are written into it are the published ones; and jwt_supported_algs. What it has cached nobody can read.",
		remedy: "`kube-iam-assume setup vault` corrects it.",
	}, {
		id: "vault.role", question: "Is there the workload's role?", needs: []string{"vault.mount"},
		how:    "Reads --vault-role, or the role that setup makes, NAMESPACE.NAME.",
		remedy: "`kube-iam-assume setup vault --service-account` makes it.",
	}, {
		id: "vault.audience", question: "Does the role take the audience?", needs: []string{"vault.role"},
		how:    "Looks for --vault-audience among bound_audiences.",
		remedy: "`kube-iam-assume setup vault` corrects it.",
	}, {
		id: "vault.subject", question: "Does the role let in the workload, and nobody else?", needs: []string{"vault.role"},
		how:    "Compares bound_subject and bound_claims with the token's. A claim inside another is a JSON pointer with a leading slash; a role without any is open to the cluster.",
		remedy: "`kube-iam-assume setup vault` binds it.",
	}}, "--vault")
}

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
	if len(w.Keys) == 0 { // Google can have them without anybody publishing them
		w.Keys = e.union()
	}
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
	case !slices.ContainsFunc(e.clouds, func(f registration.Finding) bool { return cloudOf(f.Check) == cloudOf(id) }):
		return skip("no %s", flag)
	case e.options.Workload == "":
		return skip("no --service-account")
	}
	return skip("nobody was asked: a flag is missing, or what it depends on is unknown")
}

// cloudOf is the first word of a check's ID.
func cloudOf(id string) string {
	cloud, _, _ := strings.Cut(id, ".")
	return cloud
}
