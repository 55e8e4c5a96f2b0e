package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-iam-assume/kube-iam-assume/cli/apiserver"
	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/distribution"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

// ErrSame means that the API servers have the issuer already.
var ErrSame = errors.New("nothing to do")

const (
	readTimeout   = 10 * time.Second
	defaultIssuer = "https://kubernetes.default.svc.cluster.local"
)

type flags struct {
	issuer, before, name string
	kubeconfig, context  string
	output               command.Output
}

// Command is `kube-iam-assume setup cluster`.
func Command() *cobra.Command {
	f := &flags{}
	c := &cobra.Command{
		Use:   "cluster",
		Short: "Print the API servers' settings for an issuer that clouds can reach",
		Long: `cluster finds out which distribution the cluster is and what its issuer is now, and prints what its API servers are to be told, and where: the new issuer first,
which signs; the old one second, whose tokens are taken until they expire; and audiences that keep default tokens away from clouds. Several API servers are changed in two rounds, which it prints too. It changes nothing.

With --distribution and --issuer-before it asks no cluster.`,
		Example: `  kube-iam-assume setup cluster --issuer-url https://oidc.example.com/prod-eu1
  kube-iam-assume setup cluster --issuer-url https://oidc.example.com/prod-eu1 --distribution k3s`,
		Args: command.Exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	var names []string
	for _, name := range distribution.Names() {
		names = append(names, string(name))
	}
	c.Flags().StringVar(&f.issuer, "issuer-url", "", "`URL` of the issuer, as the publisher has it")
	c.Flags().StringVar(&f.before, "issuer-before", "", "`URL` of the issuer that the API servers have now; default: they are asked, or "+defaultIssuer+" with --distribution")
	c.Flags().StringVar(&f.name, "distribution", "", "`name`: "+strings.Join(names, ", ")+"; default: the cluster says it")
	c.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig `file`; default: KUBECONFIG or ~/.kube/config")
	c.Flags().StringVar(&f.context, "context", "", "`name` of the context; default: the current one")
	f.output.Flag(c)
	_ = c.MarkFlagRequired("issuer-url") // it exists
	return c
}

func (f *flags) run(c *cobra.Command) error {
	for _, issuer := range []string{f.issuer, f.before} {
		if err := check(issuer); issuer != "" && err != nil {
			return trust.Told(c, err)
		}
	}
	name, why := distribution.Name(f.name), "as --distribution says"
	if f.name != "" && !slices.Contains(distribution.Names(), name) {
		return command.Usage(c, fmt.Errorf("--distribution %q: want one of those that --help lists", f.name))
	}
	if f.name == "" {
		var err error
		if name, why, err = f.ask(c.Context()); err != nil {
			return fmt.Errorf("%w; or say --distribution", err)
		}
	}
	if f.before == "" {
		f.before = defaultIssuer
	}
	if f.before == f.issuer {
		return fmt.Errorf("%w: the API servers have the issuer %s already", ErrSame, f.issuer)
	}
	s := Write(name, why, f.issuer, f.before)
	return f.output.Print(c.OutOrStdout(), s, s.print)
}

// check refuses what is no issuer, and could be more than a value in what is printed.
func check(issuer string) error {
	_, err := trust.ParseCluster("x=" + issuer)
	return err
}

// ask finds out the distribution and, if nobody said it, the present issuer.
func (f *flags) ask(ctx context.Context) (name distribution.Name, why string, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	config, err := apiserver.Load(f.kubeconfig, f.context)
	if err != nil {
		return "", "", err
	}
	config.Timeout = readTimeout
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", "", err
	}
	if f.before == "" {
		if f.before, err = present(ctx, client); err != nil {
			return "", "", fmt.Errorf("read the present issuer: %w", err)
		}
	}
	name, why, err = distribution.Detect(ctx, client)
	if err != nil {
		return "", "", fmt.Errorf("find out the distribution: %w", err)
	}
	return name, why, nil
}

func present(ctx context.Context, client kubernetes.Interface) (string, error) {
	body, err := client.Discovery().RESTClient().Get().AbsPath("/.well-known/openid-configuration").DoRaw(ctx)
	if err != nil {
		return "", err
	}
	var document struct {
		Issuer string `json:"issuer"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return "", err
	}
	return document.Issuer, check(document.Issuer)
}
