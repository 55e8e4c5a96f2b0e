package aws

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/plan"
)

// print writes what would do the same.
func (w wanted) print(out io.Writer, form string) error {
	var document []byte
	if w.role != "" {
		report, err := w.account.Report(w.who)
		if err != nil {
			return err
		}
		if len(report.Policies) > 1 {
			return fmt.Errorf("%d policies are needed, one role has one: run it for fewer clusters or service accounts at a time, each time with another --role", len(report.Policies))
		}
		if document, err = json.MarshalIndent(report.Policies[0].Document, "", "  "); err != nil {
			return err
		}
	}
	var b bytes.Buffer
	if form == plan.Terraform {
		w.terraform(&b, document)
	} else {
		w.cli(&b, document)
	}
	_, err := out.Write(b.Bytes())
	return err
}

// cli writes for a POSIX shell. Nothing in it needs quotes but the document, which has no single ones.
func (w wanted) cli(b *bytes.Buffer, document []byte) {
	for _, c := range w.who.Clusters {
		fmt.Fprintf(b, "aws iam create-open-id-connect-provider --url %s --client-id-list %s --tags Key=%s,Value=%s\n", c.Issuer, w.account.Audience, tagKey, tagValue)
	}
	if w.role != "" {
		fmt.Fprintf(b, "aws iam create-role --role-name %s --tags Key=%s,Value=%s --assume-role-policy-document '%s'\n", w.role, tagKey, tagValue, document)
	}
}

func (w wanted) terraform(b *bytes.Buffer, document []byte) {
	for _, c := range w.who.Clusters {
		fmt.Fprintf(b, "resource \"aws_iam_openid_connect_provider\" %q {\n  url            = %q\n  client_id_list = [%q]\n  tags           = { %s = %q }\n}\n\n",
			resource(c.ID), c.Issuer, w.account.Audience, tagKey, tagValue)
	}
	if w.role == "" {
		return
	}
	policy := string(document)
	for _, c := range w.who.Clusters { // so that the role comes after the provider
		policy = strings.ReplaceAll(policy, `"`+w.account.ProviderARN(c)+`"`, `"${aws_iam_openid_connect_provider.`+resource(c.ID)+`.arn}"`)
	}
	fmt.Fprintf(b, "resource \"aws_iam_role\" %q {\n  name               = %q\n  tags               = { %s = %q }\n  assume_role_policy = <<-JSON\n    %s\n  JSON\n}\n",
		resource(w.role), w.role, tagKey, tagValue, strings.ReplaceAll(policy, "\n", "\n    "))
}

// resource is a name that Terraform takes.
func resource(name string) string {
	return "kube_" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, name)
}
