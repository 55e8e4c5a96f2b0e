package doctor

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/registration"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/aws"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

// cloudFlags are those of the setup commands, each with its cloud's name before it.
type cloudFlags struct {
	aws         bool
	awsSettings aws.Registration
}

func (f *cloudFlags) add(c *cobra.Command) {
	s := c.Flags()
	s.BoolVar(&f.aws, "aws", false, "ask AWS, with the credentials of its SDK, for the identity provider and the roles' trust policies")
	s.StringVar(&f.awsSettings.Account, "aws-account", "", "`ID` of the AWS account; default: that of the credentials")
	s.StringVar(&f.awsSettings.Partition, "aws-partition", "", "`name` of the partition; default: that of the credentials")
	s.StringVar(&f.awsSettings.Audience, "aws-audience", trust.AWSAudience, "`audience` of the tokens for AWS")
	s.StringArrayVar(&f.awsSettings.Roles, "aws-role", nil, "`name` or ARN of a role that is to let --service-account in, as often as needed; default: all roles that name the issuer")
}

// readers are those of the clouds that the flags name, and the audiences of tokens for them. The error is a wrong call.
func (f *cloudFlags) readers() (all []registration.Reader, audiences []string, err error) {
	if f.aws {
		all, audiences = append(all, f.awsSettings), append(audiences, f.awsSettings.Audience)
	} else if f.awsSettings.Account != "" || len(f.awsSettings.Roles) > 0 {
		return nil, nil, errors.New("--aws-account and --aws-role: say --aws, too")
	}
	return all, audiences, nil
}
