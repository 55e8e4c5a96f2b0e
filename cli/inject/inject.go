// Package inject is the command that prints a workload with what its pods need to log in to a cloud.
package inject

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/workload"
)

// Command is `kube-iam-assume inject`.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "inject",
		Short: "Print a workload with the volume, audience and environment of a cloud's login added",
		Long: `inject reads a file of Kubernetes objects and prints it with a projected token, its mount and the variables by which a cloud's SDKs find it, in
every workload: Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs, CronJobs, and other kinds that have pods the same way. Comments and order
stay; documents without a workload stay byte for byte. It applies nothing, and says the same when it reads its own output.

Run it once for each cloud: one token has one audience. amazon-eks-pod-identity-webhook and azure-workload-identity do the same in a cluster, and work with
your own issuer, too.`,
		Args: command.Exactly(0, "one of the commands below"),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(awsCommand(), gcpCommand(), azureCommand(), vaultCommand())
	return c
}

// injecting makes a command of a login.
func injecting(c *cobra.Command, login func() (workload.Login, error)) *cobra.Command {
	var file string
	var options workload.Options
	c.Flags().StringVarP(&file, "filename", "f", "", "`file` with Kubernetes objects, or - for standard input")
	c.Flags().IntVar(&options.Expiration, "expiration", 3600, "`seconds` that a token lives; the kubelet renews it long before")
	c.Flags().StringArrayVar(&options.Containers, "container", nil, "`name` of the only container to add it to; as often as needed; default: all")
	_ = c.MarkFlagRequired("filename") // it exists
	c.Args = command.Exactly(0, "no arguments; the file is -f")
	c.RunE = func(c *cobra.Command, _ []string) error {
		wanted, err := login()
		if err != nil {
			return told(c, err)
		}
		content, err := read(file, c.InOrStdin())
		if err != nil {
			return err
		}
		result, err := workload.Inject(content, wanted, options)
		if err != nil {
			return told(c, fmt.Errorf("%s: %w", file, err))
		}
		for _, note := range result.Notes {
			fmt.Fprintln(c.ErrOrStderr(), note)
		}
		_, err = c.OutOrStdout().Write(result.File)
		return err
	}
	return c
}

func told(c *cobra.Command, err error) error {
	if errors.Is(err, workload.ErrLogin) {
		return command.Usage(c, err)
	}
	return err
}

func read(name string, stdin io.Reader) ([]byte, error) {
	return command.Read(name, stdin, workload.MaxBytes)
}

func awsCommand() *cobra.Command {
	var role, audience string
	c := injecting(&cobra.Command{
		Use:     "aws",
		Short:   "Add the login to an IAM role",
		Example: "  kube-iam-assume inject aws -f deployment.yaml --role-arn arn:aws:iam::111122223333:role/payments | kubectl apply -f -",
	}, func() (workload.Login, error) { return workload.AWS(role, audience) })
	c.Flags().StringVar(&role, "role-arn", "", "`ARN` of the role")
	c.Flags().StringVar(&audience, "audience", "sts.amazonaws.com", "`audience` that the identity provider takes")
	_ = c.MarkFlagRequired("role-arn") // it exists
	return c
}

func gcpCommand() *cobra.Command {
	var provider, impersonate, configMap string
	c := injecting(&cobra.Command{
		Use:   "gcp",
		Short: "Add the login by a Workload Identity provider",
		Long:  "gcp adds the login, and to each namespace the ConfigMap with the file that Google's SDKs read, which holds no secret.",
		Example: `  kube-iam-assume inject gcp -f deployment.yaml \
    --provider projects/123456789012/locations/global/workloadIdentityPools/kubernetes/providers/prod-eu1`,
	}, func() (workload.Login, error) { return workload.GCP(provider, impersonate, configMap) })
	c.Flags().StringVar(&provider, "provider", "", "full `name` of the provider")
	c.Flags().StringVar(&impersonate, "impersonate", "", "`address` of the Google service account to act as; none: as the workload itself")
	c.Flags().StringVar(&configMap, "config-map", "google-login", "`name` of the ConfigMap and of its volume")
	_ = c.MarkFlagRequired("provider") // it exists
	return c
}

func azureCommand() *cobra.Command {
	var tenant, client, authority, audience string
	c := injecting(&cobra.Command{
		Use:   "azure",
		Short: "Add the login to an application or a user-assigned identity",
		Example: `  kube-iam-assume inject azure -f deployment.yaml --tenant-id 00000000-0000-0000-0000-000000000001 \
    --client-id 00000000-0000-0000-0000-000000000002`,
	}, func() (workload.Login, error) { return workload.Azure(tenant, client, authority, audience) })
	c.Flags().StringVar(&tenant, "tenant-id", "", "`ID` of the Entra tenant")
	c.Flags().StringVar(&client, "client-id", "", "`ID` of the application or user-assigned identity")
	c.Flags().StringVar(&authority, "authority-host", "https://login.microsoftonline.com/", "`URL` of Entra; sovereign clouds have others")
	c.Flags().StringVar(&audience, "audience", "api://AzureADTokenExchange", "`audience` of the federated credential")
	_ = c.MarkFlagRequired("tenant-id") // it exists
	_ = c.MarkFlagRequired("client-id") // it exists
	return c
}

func vaultCommand() *cobra.Command {
	var address, mount, role, audience string
	c := injecting(&cobra.Command{
		Use:   "vault",
		Short: "Add the login to a JWT auth method of Vault or OpenBao",
		Long: `vault adds the token and VAULT_ADDR, which Vault's clients read, and VAULT_AUTH_PATH, VAULT_AUTH_ROLE and VAULT_JWT_FILE for your own login:

  vault write -field=token auth/$VAULT_AUTH_PATH/login role=$VAULT_AUTH_ROLE jwt=@$VAULT_JWT_FILE

Vault Agent's method jwt removes the file it has read, which it can't here: set remove_jwt_after_reading = false.`,
		Example: "  kube-iam-assume inject vault -f deployment.yaml --address https://vault.example.com:8200 --mount kubernetes-prod --role production.payments",
	}, func() (workload.Login, error) { return workload.Vault(address, mount, role, audience) })
	c.Flags().StringVar(&address, "address", "", "`URL` of Vault")
	c.Flags().StringVar(&mount, "mount", "", "`path` of the JWT auth method")
	c.Flags().StringVar(&role, "role", "", "`name` of the role")
	c.Flags().StringVar(&audience, "audience", "vault", "`audience` that the role takes")
	for _, name := range []string{"address", "mount", "role"} {
		_ = c.MarkFlagRequired(name) // it exists
	}
	return c
}
