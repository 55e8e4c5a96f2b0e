package terraform_test

import (
	"errors"
	"fmt"
	"strings"
)

var awsGuards = []guard{
	{name: "AWS: trust names audience and subject", check: awsTrust, red: []spoil{
		{"no audience", "aws-trust/policies/main.tf", `"${member.host}:aud" = var.audience`, ``},
		{"no subject", "aws-trust/policies/main.tf", `"${member.host}:sub" = member.subject`, ``},
		{"a pattern", "aws-trust/policies/main.tf", `StringEquals`, `StringLike`},
		{"a role with another policy", "aws-trust/main.tf", `assume_role_policy   = each.value`, `assume_role_policy   = var.policy`},
		{"roles of another list", "aws-trust/main.tf", `for_each = module.policies.policies`, `for_each = var.policies`},
	}},
	{name: "AWS: one audience, and no thumbprints", check: awsProvider, red: []spoil{
		{"two audiences", "aws-trust/main.tf", `client_id_list = [var.audience]`, `client_id_list = [var.audience, "vault"]`},
		{"thumbprints", "aws-trust/main.tf", `client_id_list = [var.audience]`, "client_id_list = [var.audience]\n  thumbprint_list = []"},
	}},
	{name: "AWS: the quotas are checked before anything is made", check: awsQuotas, red: []spoil{
		{"of a trust policy", "aws-trust/policies/main.tf", `length(local.long) == 0`, `true`},
		{"of identity providers", "aws-trust/main.tf", `length(module.clusters.clusters) <= var.maximum_providers`, `true`},
	}},
}

func awsTrust(c configuration) error {
	text := strings.Join(strings.Fields(c["aws-trust/policies/main.tf"]), " ")
	for _, part := range []string{
		`Action = "sts:AssumeRoleWithWebIdentity"`,
		`Condition = { StringEquals = { "${member.host}:aud" = var.audience "${member.host}:sub" = member.subject } }`,
		`Principal = { Federated = "arn:${var.partition}:iam::${var.account}:oidc-provider/${member.host}" }`,
	} {
		if !strings.Contains(text, part) {
			return fmt.Errorf("the trust policy lacks %s", part)
		}
	}
	roles, err := c.resources("aws_iam_role")
	if err != nil {
		return err
	}
	for _, role := range roles {
		if role.source("for_each") != "module.policies.policies" || role.source("assume_role_policy") != "each.value" {
			return fmt.Errorf("%s trusts on something else than the policies that are checked", role.address())
		}
	}
	if len(roles) == 0 {
		return errors.New("nobody is trusted")
	}
	return nil
}

func awsProvider(c configuration) error {
	provider, err := c.resource("aws-trust", "aws_iam_openid_connect_provider", "cluster")
	if err != nil {
		return err
	}
	if got := provider.source("client_id_list"); got != "[var.audience]" {
		return fmt.Errorf("the identity provider is for %s", got)
	}
	if provider.find("thumbprint_list") != nil {
		return errors.New("the identity provider has thumbprints, which a new certificate would make wrong")
	}
	return nil
}

func awsQuotas(c configuration) error {
	provider, err := c.resource("aws-trust", "aws_iam_openid_connect_provider", "cluster")
	if err != nil {
		return err
	}
	if provider.source("lifecycle.precondition.condition") != "length(module.clusters.clusters) <= var.maximum_providers" {
		return errors.New("the number of identity providers is not checked")
	}
	outputs, err := c.blocks("aws-trust/policies", "output")
	if err != nil {
		return err
	}
	for _, output := range outputs {
		if output.Labels[0] == "policies" && output.source("precondition.condition") == "length(local.long) == 0" {
			return nil
		}
	}
	return errors.New("the length of trust policies is not checked")
}
