package gcp

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/plan"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

// print writes what would do the same.
func (f *flags) print(out io.Writer, r trust.GCPReport) error {
	parts := strings.Split(f.settings.Pool, "/")
	project, pool := parts[1], parts[5]
	var b bytes.Buffer
	if f.options.Print == plan.Terraform {
		f.terraform(&b, r, project, pool)
	} else {
		f.cli(&b, r, project, pool)
	}
	_, err := out.Write(b.Bytes())
	return err
}

// cli writes for a POSIX shell. Mappings have single quotes and commas in them, which gcloud and the shell each want said.
func (f *flags) cli(b *bytes.Buffer, r trust.GCPReport, project, pool string) {
	fmt.Fprintf(b, "gcloud iam workload-identity-pools create %s --project=%s --location=global \\\n  --display-name=%s --description=%s\n",
		pool, project, quote(poolName), quote(poolDescription))
	for _, p := range r.Providers {
		var mapping []string
		for _, name := range slices.Sorted(maps.Keys(p.Mapping)) {
			mapping = append(mapping, name+"="+p.Mapping[name])
		}
		is := provider(p)
		fmt.Fprintf(b, "gcloud iam workload-identity-pools providers create-oidc %s --project=%s --location=global --workload-identity-pool=%s \\\n"+
			"  --display-name=%s --description=%s \\\n  --issuer-uri=%s \\\n  --attribute-mapping=%s \\\n  --attribute-condition=%s\n",
			p.ID, project, pool, quote(is.DisplayName), quote(is.Description), p.Issuer, quote("^|^"+strings.Join(mapping, "|")), quote(p.Condition))
	}
	for _, p := range r.Principals {
		if f.impersonate != "" {
			fmt.Fprintf(b, "gcloud iam service-accounts add-iam-policy-binding %s --role=%s --condition=None \\\n  --member=%s\n", f.impersonate, workerRole, quote(p.Principal))
		}
	}
}

func quote(text string) string { return `"` + text + `"` } // nothing here has a double quote, a dollar, a backslash or a backtick

// terraform writes for the provider hashicorp/google. Nothing in it has a template's ${ or %{.
func (f *flags) terraform(b *bytes.Buffer, r trust.GCPReport, project, pool string) {
	name := "kube_" + pool
	fmt.Fprintf(b, "resource \"google_iam_workload_identity_pool\" %q {\n  project                   = %q\n  workload_identity_pool_id = %q\n  display_name              = %q\n  description               = %q\n}\n",
		name, project, pool, poolName, poolDescription)
	for _, p := range r.Providers {
		is := provider(p)
		fmt.Fprintf(b, "\nresource \"google_iam_workload_identity_pool_provider\" %q {\n", "kube_"+p.ID)
		fmt.Fprintf(b, "  project                            = %q\n", project)
		fmt.Fprintf(b, "  workload_identity_pool_id          = google_iam_workload_identity_pool.%s.workload_identity_pool_id\n", name)
		fmt.Fprintf(b, "  workload_identity_pool_provider_id = %q\n", p.ID)
		fmt.Fprintf(b, "  display_name                       = %q\n", is.DisplayName)
		fmt.Fprintf(b, "  description                        = %q\n", is.Description)
		fmt.Fprintf(b, "  attribute_condition                = %q\n", p.Condition)
		b.WriteString("  attribute_mapping = {\n")
		width := 0
		for attribute := range p.Mapping {
			width = max(width, len(attribute)+2)
		}
		for _, attribute := range slices.Sorted(maps.Keys(p.Mapping)) {
			fmt.Fprintf(b, "    %-*s = %q\n", width, `"`+attribute+`"`, p.Mapping[attribute])
		}
		fmt.Fprintf(b, "  }\n\n  oidc {\n    issuer_uri = %q\n  }\n}\n", p.Issuer)
	}
	if f.impersonate == "" {
		return
	}
	for _, p := range r.Principals {
		fmt.Fprintf(b, "\nresource \"google_service_account_iam_member\" %q {\n  service_account_id = %q\n  role               = %q\n  member             = %q\n\n"+
			"  depends_on = [google_iam_workload_identity_pool.%s]\n}\n",
			grantName(p), "projects/-/serviceAccounts/"+f.impersonate, workerRole, p.Principal, name)
	}
}

// grantName is what Terraform takes, and one for each principal: names of clusters and namespaces have no underscore, and those of accounts none either.
func grantName(p trust.GCPPrincipal) string {
	if p.Account == nil {
		return "kube_" + p.Cluster + "_" + p.Namespace
	}
	return "kube_" + p.Cluster + "_" + p.Account.Namespace + "_" + strings.ReplaceAll(p.Account.Name, ".", "__")
}
