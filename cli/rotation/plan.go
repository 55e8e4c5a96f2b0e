package rotation

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/apiserver"
	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/distribution"
)

// Plan is every step of a rotation.
type Plan struct {
	Distribution distribution.Name `json:"distribution"`
	Why          string            `json:"why"`
	Issuer       string            `json:"issuer"`
	Caution      string            `json:"caution,omitempty"`
	Steps        []Step            `json:"steps"`
	Outside      string            `json:"outside"`
	Secrets      []string          `json:"legacySecrets,omitempty"`
	Problem      string            `json:"legacySecretsProblem,omitempty"`
}

// Step is what a person does.
type Step struct {
	Title string   `json:"title"`
	Why   string   `json:"why,omitempty"`
	Run   []string `json:"run,omitempty"` // commands
}

const notAsked = "the cluster was not asked; without --issuer or --distribution it is"

func planCommand() *cobra.Command {
	var f flags
	var named, issuer, cluster string
	c := &cobra.Command{
		Use:   "plan",
		Short: "Print every step of a rotation for the cluster's distribution",
		Long: `plan finds out which distribution the cluster is and prints every step of a rotation, the controller-manager's key and what new control
plane nodes copy included. It runs none of them. --distribution chooses one, and needs no cluster together with --issuer.`,
		Example: `  kube-iam-assume rotation plan
  kube-iam-assume rotation plan --distribution k3s --issuer https://oidc.example.com/prod --cluster prod`,
		Args: command.Exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if named != "" && !slices.Contains(distribution.Names(), distribution.Name(named)) {
				return command.Usage(c, fmt.Errorf("--distribution %s: want one of %s", named, names()))
			}
			p := Plan{Distribution: distribution.Name(named), Why: "--distribution says so", Issuer: issuer, Outside: outside, Problem: notAsked}
			if err := p.find(c, &f); err != nil {
				return err
			}
			if f.config != nil {
				p.Secrets, p.Problem = LegacySecrets(c.Context(), f.config)
			}
			p.fill(cluster)
			return f.output.Print(c.OutOrStdout(), p, p.print)
		},
	}
	f.addCluster(c)
	c.Flags().StringVar(&named, "distribution", "", "`name` of the distribution: "+names()+"; default: the cluster's nodes say it")
	c.Flags().StringVar(&issuer, "issuer", "", "issuer `URL`; default: the API servers'")
	c.Flags().StringVar(&cluster, "cluster", "CLUSTER", "cluster `ID` at the publishers")
	return c
}

func names() string {
	var all []string
	for _, name := range distribution.Names() {
		all = append(all, string(name))
	}
	return strings.Join(all, ", ")
}

// find asks the cluster for what was not given.
func (p *Plan) find(c *cobra.Command, f *flags) error {
	if p.Distribution != "" && p.Issuer != "" {
		return nil
	}
	if f.config == nil {
		config, err := apiserver.Load(f.kubeconfig, f.context)
		if errors.Is(err, apiserver.ErrNoKubeconfig) {
			return command.Usage(c, fmt.Errorf("%w; or give --distribution and --issuer", err))
		}
		if err != nil {
			return err
		}
		f.config = config
	}
	servers, err := apiserver.Open(c.Context(), f.config)
	if err != nil {
		return err
	}
	if p.Distribution == "" {
		if p.Distribution, p.Why, err = distribution.Detect(c.Context(), servers.Client); err != nil {
			return fmt.Errorf("find out the distribution: %w; give --distribution", err)
		}
	}
	if p.Issuer == "" {
		readings, _, err := servers.Read(c.Context())
		if err != nil {
			return err
		}
		for _, r := range readings {
			p.Issuer = max(p.Issuer, r.Issuer)
		}
	}
	return nil
}

func (p *Plan) fill(cluster string) {
	way := wayOf(p.Distribution)
	p.Caution = way.caution
	p.Steps = append(p.Steps, before(way)...)
	p.Steps = append(p.Steps, way.steps...)
	p.Steps = append(p.Steps, after(way)...)
	places := strings.NewReplacer("ISSUER", p.Issuer, "CLUSTER", cluster)
	for i := range p.Steps {
		for j := range p.Steps[i].Run {
			p.Steps[i].Run[j] = places.Replace(p.Steps[i].Run[j])
		}
	}
}

func (p *Plan) print(out io.Writer) error {
	fmt.Fprintf(out, "Rotation of the signing key of %s\nDistribution: %s (%s)\n", p.Issuer, p.Distribution, p.Why)
	if p.Caution != "" {
		fmt.Fprintf(out, "CAUTION: %s\n", p.Caution)
	}
	for i, step := range p.Steps {
		fmt.Fprintf(out, "\n%d. %s\n", i+1, step.Title)
		if step.Why != "" {
			fmt.Fprintf(out, "   %s\n", step.Why)
		}
		for _, line := range step.Run {
			fmt.Fprintf(out, "     %s\n", line)
		}
	}
	fmt.Fprintf(out, "\n%s\n", p.Outside)
	PrintSecrets(out, p.Secrets, p.Problem)
	return nil
}
