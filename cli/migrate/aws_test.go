package migrate

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// pages answers as IAM does: page by page, and policies percent-encoded.
type pages struct {
	roles []types.Role
	err   error
}

func (p pages) ListRoles(_ context.Context, in *iam.ListRolesInput, _ ...func(*iam.Options)) (*iam.ListRolesOutput, error) {
	if p.err != nil {
		return nil, p.err
	}
	if in.Marker == nil {
		return &iam.ListRolesOutput{Roles: p.roles[:1], IsTruncated: true, Marker: aws.String("next")}, nil
	}
	return &iam.ListRolesOutput{Roles: p.roles[1:]}, nil
}

func TestListRoles(t *testing.T) {
	t.Parallel()
	const policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/a+b"},"Action":"sts:AssumeRole"}]}`
	p := pages{roles: []types.Role{
		{Arn: aws.String("arn:aws:iam::111122223333:role/one"), AssumeRolePolicyDocument: aws.String(url.PathEscape(policy))},
		{Arn: aws.String("arn:aws:iam::111122223333:role/two")},
	}}
	roles, err := listRoles(t.Context(), p)
	if err != nil || len(roles) != 2 || string(roles["arn:aws:iam::111122223333:role/one"].Trust) != policy {
		t.Errorf("%v, %v", roles, err)
	}
	p.roles[1].AssumeRolePolicyDocument = aws.String("%zz")
	if _, err := listRoles(t.Context(), p); err == nil || !strings.Contains(err.Error(), "role/two") {
		t.Error(err)
	}
	p.err = errors.New("AccessDenied")
	if _, err := listRoles(t.Context(), p); err == nil || !strings.Contains(err.Error(), "iam:ListRoles") {
		t.Error(err)
	}
}
