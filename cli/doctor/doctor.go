// Package doctor walks the chain from the API servers' flags to what a cloud sees, and names the first broken link with its remedy.
//
// First everything is looked at once (evidence.go); then each check, one small value in a list that is ordered like the chain, judges
// what was seen. A check whose subject is broken further up is skipped and says so. Nothing is changed anywhere: doctor reads, and asks
// API servers for short tokens of one service account, which it shows to nobody.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"github.com/kube-iam-assume/kube-iam-assume/cli/apiserver"
	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/location"
	"github.com/kube-iam-assume/kube-iam-assume/cli/registration"
	"github.com/kube-iam-assume/kube-iam-assume/cli/stranger"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
)

var (
	// ErrBroken means that a link of the chain is broken.
	ErrBroken = errors.New("a link of the chain is broken; the report above names the first")
	// ErrUnknown means that nothing is known to be broken, but that a cloud which was named did not answer.
	ErrUnknown = errors.New("what was asked for could not all be seen; the report above names the rights that are missing")
)

// File is one that was read.
type File struct {
	Name string
	Data []byte
}

// Options say what to look at. Resolve, Open, Stranger and Now are wanted; what else is empty is skipped.
type Options struct {
	Config     *rest.Config // of the cluster
	ClusterErr error        // why there is no Config
	Account    string       // the exporter's, namespace/name

	Issuer    string   // empty for what the settings or the API servers say
	Internal  bool     // its consumers are in the same network
	Mirrors   []string // base URLs
	For       []string // consumers, of Consumers; none for all, whose limits then only warn
	Workload  string   // whose token to try, namespace/name
	Audiences []string // of that token, one for each consumer
	Retention time.Duration

	ExporterSettings *File
	ExporterURL      string // of its metrics port
	Publishers       []Publisher

	Stranger stranger.Client
	Resolve  func(ctx context.Context, host string) ([]string, error)
	Open     func(ctx context.Context, place string) (location.Reader, error)
	Proxied  bool // a proxy is between this machine and the issuer
	Clouds   []registration.Reader
	Now      func() time.Time
}

// Consumers are the names that --for takes.
func Consumers() []string { return []string{"aws", "google", "entra", "vault"} }

// Run looks and judges.
func Run(ctx context.Context, o Options) Report {
	e := gather(ctx, o)
	return newReport(e.issuer, examine(e))
}

type flags struct {
	kubeconfig, context, caBundle string
	exporterSettings, explain     string
	publisherSettings, data       []string // the one's n-th belongs to the other's
	all                           bool
	output                        command.Output
	clouds                        cloudFlags
	Options
}

// Command is `kube-iam-assume doctor`.
func Command() *cobra.Command {
	f := &flags{}
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Walk the whole chain and name the first broken link, with its remedy",
		Long: `doctor looks at every link between a pod's token and a cloud that accepts it: the API servers' flags and keys, one by one; the exporter;
the publisher; the documents at the issuer's URL, as a stranger sees them; mirrors; a real token, verified like a cloud; and what each cloud
that you name knows of the issuer and of --service-account. What it needs and does not have it skips and says so. It changes nothing, and shows no token.

The clouds' flags are those of setup, with the cloud's name before them, and so are the credentials. What they may not read is "unknown", with the right that
is missing.

Exit code 0: nothing is broken (there may be warnings); 1: a link is broken, or unknown; 2: wrong call.`,
		Example: `  kube-iam-assume doctor --service-account prod/payments --aws --for aws
  kube-iam-assume doctor --exporter-settings exporter.yaml --publisher-settings publisher.yaml --data s3://my-private-bucket
  kubectl port-forward -n kube-iam-assume deploy/cluster-exporter 8080 & kube-iam-assume doctor --exporter-url http://127.0.0.1:8080   # who may not get pods/proxy
  kube-iam-assume doctor --issuer https://oidc.example.com/prod -o json   # without a kubeconfig: the documents alone
  kube-iam-assume doctor --explain jwks.signing`,
		Args: command.Exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	f.add(c)
	return c
}

func (f *flags) add(c *cobra.Command) {
	s := c.Flags()
	s.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig `file`; default: KUBECONFIG or ~/.kube/config")
	s.StringVar(&f.context, "context", "", "`name` of the context; default: the current one")
	s.StringVar(&f.Issuer, "issuer", "", "issuer `URL` that the clouds have registered; default: what settings or API servers say")
	s.StringVar(&f.caBundle, "ca-bundle", "", "PEM `file` with the authority of the issuer's host, if it is not a public one")
	s.BoolVar(&f.Internal, "internal", false, "the issuer's consumers are in the same private network")
	s.StringArrayVar(&f.Mirrors, "mirror", nil, "base `URL` of another publisher's documents of the issuer, as often as needed")
	s.StringSliceVar(&f.For, "for", nil, "`consumers` whose limits must be kept: "+strings.Join(Consumers(), ", ")+"; default: warn for all")
	s.StringVar(&f.Account, "exporter-service-account", "", "the exporter's service account, `namespace/name`; default: of its settings, or kube-iam-assume/cluster-exporter")
	s.StringVar(&f.exporterSettings, "exporter-settings", "", "the exporter's settings `file`")
	s.StringVar(&f.ExporterURL, "exporter-url", "", "`URL` of the exporter's metrics port; default: its pods, through the API server")
	s.StringArrayVar(&f.publisherSettings, "publisher-settings", nil, "a publisher's settings `file`, of each publisher of the issuer")
	s.StringArrayVar(&f.data, "data", nil, "`place` where the publisher of the --publisher-settings before it keeps state and log: a directory, s3://BUCKET, gs://BUCKET or https://ACCOUNT.blob.core.windows.net/CONTAINER")
	s.DurationVar(&f.Retention, "retention", 0, "how `long` the publisher keeps a key that left; default: of its settings, or 48h")
	s.StringVar(&f.Workload, "service-account", "", "a workload's service account whose token to try, `namespace/name`; default: the exporter's")
	s.StringSliceVar(&f.Audiences, "audience", nil, "`audience` of that token, such as sts.amazonaws.com, as often as needed")
	s.StringVar(&f.explain, "explain", "", "only tell what the check `ID` does, and the remedy")
	s.BoolVar(&f.all, "all", false, "show also what was skipped")
	f.clouds.add(c)
	f.output.Flag(c)
}

func (f *flags) run(c *cobra.Command) error {
	if f.explain != "" {
		if !explain(c.OutOrStdout(), f.explain) {
			return command.Usage(c, fmt.Errorf("--explain: there is no check %q; they are %s", f.explain, strings.Join(checkIDs(), ", ")))
		}
		return nil
	}
	if err := f.prepare(); err != nil {
		return command.Usage(c, err)
	}
	report := Run(c.Context(), f.Options)
	out := c.OutOrStdout()
	if err := f.output.Print(out, report, func(w io.Writer) error { return report.Print(w, command.Colours(out), f.all) }); err != nil {
		return err
	}
	switch {
	case report.First != "":
		return ErrBroken
	case !report.Healthy:
		return ErrUnknown
	}
	return nil
}

// prepare reads the files that were named. The error is a wrong call; what is wrong in a file is for the checks.
func (f *flags) prepare() error {
	for _, consumer := range f.For {
		if !slices.Contains(Consumers(), consumer) {
			return fmt.Errorf("--for %s: want %s", consumer, strings.Join(Consumers(), ", "))
		}
	}
	for name, account := range map[string]string{"exporter-service-account": f.Account, "service-account": f.Workload} {
		namespace, rest, _ := strings.Cut(account, "/")
		if account != "" && (namespace == "" || rest == "" || strings.Contains(rest, "/")) {
			return fmt.Errorf("--%s: want namespace/name", name)
		}
	}
	if err := f.files(); err != nil {
		return err
	}
	clouds, audiences, err := f.clouds.readers()
	if err != nil {
		return err
	}
	if f.Clouds = clouds; len(f.Audiences) == 0 {
		f.Audiences = audiences
	}
	if f.Stranger, err = stranger.New(f.caBundle, nil); err != nil {
		return err
	}
	f.Config, f.ClusterErr = apiserver.Load(f.kubeconfig, f.context)
	f.Resolve, f.Open, f.Now, f.Proxied = net.DefaultResolver.LookupHost, location.Open, time.Now, proxied(f.Issuer)
	return nil
}

// files reads those that were named. What is wrong in the publisher's settings is for the checks.
func (f *flags) files() error {
	if f.exporterSettings != "" {
		data, err := os.ReadFile(f.exporterSettings)
		if err != nil {
			return err
		}
		f.ExporterSettings = &File{f.exporterSettings, data}
	}
	if len(f.data) > len(f.publisherSettings) {
		return errors.New("--data: give the settings of that publisher too, with --publisher-settings")
	}
	for i, file := range f.publisherSettings {
		if _, err := os.Stat(file); err != nil {
			return err
		}
		var p Publisher
		settings, err := enrollment.Load(file)
		if p.Err = err; err == nil {
			p.Settings = &settings
		}
		if i < len(f.data) && f.data[i] != "" {
			p.Data = f.data[i]
			if err := location.Check(p.Data); err != nil {
				return fmt.Errorf("--data: %w", err)
			}
		}
		f.Publishers = append(f.Publishers, p)
	}
	return nil
}

// proxied reports whether the environment names a proxy for https, as then DNS is the proxy's.
func proxied(issuer string) bool {
	if issuer == "" {
		issuer = "https://example.com"
	}
	request, err := http.NewRequest(http.MethodGet, issuer, http.NoBody) //nolint:noctx // it is never sent
	if err != nil {
		return false
	}
	proxy, err := http.ProxyFromEnvironment(request)
	return err == nil && proxy != nil
}

// checkIDs are the IDs of every check, in order.
func checkIDs() []string {
	var ids []string
	for _, l := range chain() {
		for _, c := range l.checks {
			ids = append(ids, c.id)
		}
	}
	return ids
}
