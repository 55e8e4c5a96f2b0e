// Package rotation helps a person change a cluster's signing key without an outage: it shows where a rotation stands, waits until the next
// step is safe and keeps the evidence, and prints the steps for the cluster's distribution. It changes nothing in the cluster.
//
// What it says is about consumers outside the cluster, who see keys through published documents. It always says so, and names the tokens
// inside that outlive a rotation.
package rotation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"github.com/kube-iam-assume/kube-iam-assume/cli/apiserver"
	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/stranger"
)

// Command is `kube-iam-assume rotation`.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "rotation",
		Short: "Change the signing key without fear: status, wait, plan, announce",
		Long: `rotation helps to change a cluster's signing key without an outage. Start with plan, which prints every step for your distribution; wait
says when the next one is safe.`,
		Example: "  kube-iam-assume rotation plan\n  kube-iam-assume rotation status",
		Args:    command.Exactly(0, "one of the commands below"),
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(statusCommand(), waitCommand(), planCommand(), announceCommand())
	return c
}

// flags are those of every command that looks.
type flags struct {
	kubeconfig, context string
	account             string
	urls                []string
	caBundle            string
	output              command.Output

	config *rest.Config    // tests set it; else it is the kubeconfig's
	dial   stranger.Dialer // tests set it
}

func (f *flags) add(c *cobra.Command) {
	s := c.Flags()
	f.addCluster(c)
	s.StringArrayVar(&f.urls, "url", nil, "`URL` of an issuer or a mirror, as often as needed; default: the API servers' issuer")
	s.StringVar(&f.caBundle, "ca-bundle", "", "PEM `file` with the authority of the URLs' hosts, if it is not a public one")
	s.StringVar(&f.account, "exporter-service-account", "kube-iam-assume/cluster-exporter", "account whose tokens tell the signing key, `namespace/name`")
}

func (f *flags) addCluster(c *cobra.Command) {
	s := c.Flags()
	s.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig `file`; default: KUBECONFIG or ~/.kube/config")
	s.StringVar(&f.context, "context", "", "`name` of the context; default: the current one")
	f.output.Flag(c)
}

// sources opens what is to be looked at. Without a kubeconfig there are only the URLs, unless the cluster is needed.
func (f *flags) sources(ctx context.Context, needCluster bool) (*sources, error) {
	started := time.Now()
	s := &sources{account: f.account, now: func() time.Time { return time.Now().Round(0) }, ran: func() time.Duration { return time.Since(started) }}
	var err error
	if s.stranger, err = stranger.New(f.caBundle, f.dial); err != nil {
		return nil, err
	}
	for _, u := range f.urls {
		s.urls = append(s.urls, strings.TrimSuffix(strings.TrimSuffix(u, stranger.JWKSPath), "/"))
	}
	if f.config == nil {
		f.config, err = apiserver.Load(f.kubeconfig, f.context)
	}
	if errors.Is(err, apiserver.ErrNoKubeconfig) && !needCluster && len(s.urls) > 0 {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if s.cluster, err = apiserver.Open(ctx, f.config); err != nil {
		return nil, err
	}
	if len(s.urls) > 0 {
		return s, nil
	}
	readings, _, err := s.cluster.Read(ctx)
	for _, r := range readings {
		if strings.HasPrefix(r.Issuer, "https://") && !slices.Contains(s.urls, r.Issuer) {
			s.urls = append(s.urls, r.Issuer)
		}
	}
	return s, err
}
