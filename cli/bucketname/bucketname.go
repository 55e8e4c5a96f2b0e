// Package bucketname makes names for the stores of documents at Google and Azure, where a name is unique in the world and free again once its store is
// deleted. A name is part of every issuer, so nobody must be able to guess it before it is taken.
package bucketname

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
)

// ErrPrefix means that no name can begin so.
var ErrPrefix = errors.New("invalid prefix")

// Suggestion is a name, and where issuers would be.
type Suggestion struct {
	Name       string `json:"name"`
	IssuerBase string `json:"issuerBase"`
	Variable   string `json:"variable"` // of our Terraform module
}

const (
	// Our module on Google adds -settings and -private to the documents bucket's name, of at most 63 characters.
	maxBucket = 63 - len("-settings")
	// Our module on Azure adds priv and host to the documents account's name, of at most 24 characters.
	maxAccount = 24 - len("priv")

	randomCharacters = 12 // 60 bits: more than anybody can register in advance
	container        = "documents"
)

var (
	bucketPrefix  = regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`)
	accountPrefix = regexp.MustCompile(`^[a-z][a-z0-9]*$`)
	forbidden     = regexp.MustCompile(`^goog|g[o0][o0]g[l1]e`)
)

// GCP names a bucket of Cloud Storage. The error is ErrPrefix.
func GCP(prefix, random string) (Suggestion, error) {
	name := prefix + "-" + random
	switch {
	case !bucketPrefix.MatchString(prefix):
		return Suggestion{}, fmt.Errorf("%w %q: want lower-case letters, digits and inner hyphens, beginning with a letter; a dot would need a domain of yours and break the certificate", ErrPrefix, prefix)
	case forbidden.MatchString(name):
		return Suggestion{}, fmt.Errorf("%w %q: Google takes no names that begin with goog or look like its own", ErrPrefix, prefix)
	case len(name) > maxBucket:
		return Suggestion{}, fmt.Errorf("%w %q: at most %d characters", ErrPrefix, prefix, maxBucket-len(random)-1)
	}
	return Suggestion{name, "https://storage.googleapis.com/" + name, "bucket"}, nil
}

// Azure names a storage account. The error is ErrPrefix.
func Azure(prefix, random string) (Suggestion, error) {
	name := prefix + random
	switch {
	case !accountPrefix.MatchString(prefix):
		return Suggestion{}, fmt.Errorf("%w %q: a storage account has lower-case letters and digits only, and ours begin with a letter", ErrPrefix, prefix)
	case len(name) > maxAccount:
		return Suggestion{}, fmt.Errorf("%w %q: at most %d characters", ErrPrefix, prefix, maxAccount-len(random))
	}
	return Suggestion{name, "https://" + name + ".blob.core.windows.net/" + container, "account"}, nil
}

// Command is `kube-iam-assume bucket-name`.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "bucket-name",
		Short: "Make a name for the documents' bucket or storage account that nobody can guess",
		Long: `bucket-name makes a name for the store of the documents. At Google and Azure a name is unique in the world, part of every issuer, and anybody's once its
store is deleted: so it has a random part, which nobody can take before you, and you must never delete the store while anybody trusts the issuer.
On AWS bucket names can belong to your account, and the stack sees to it. Best is a host name of your own in front of any of them.`,
		Args: command.Exactly(0, "gcp or azure"),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(
		suggesting("gcp", "Name a bucket of Cloud Storage", GCP),
		suggesting("azure", "Name a storage account", Azure),
	)
	return c
}

func suggesting(cloud, short string, suggest func(prefix, random string) (Suggestion, error)) *cobra.Command {
	var prefix string
	var output command.Output
	c := &cobra.Command{
		Use: cloud, Short: short, Args: command.Exactly(0, "no arguments"),
		Example: "  kube-iam-assume bucket-name " + cloud + " --prefix oidc\n  kube-iam-assume bucket-name " + cloud + " -o json | jq -r .name",
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := suggest(prefix, strings.ToLower(rand.Text())[:randomCharacters])
			if err != nil {
				return command.Usage(c, err)
			}
			return output.Print(c.OutOrStdout(), s, s.text)
		},
	}
	c.Flags().StringVar(&prefix, "prefix", "oidc", "what the name begins `with`, for people")
	output.Flag(c)
	return c
}

func (s Suggestion) text(out io.Writer) error {
	_, err := fmt.Fprintf(out, "name         %s\nissuer base  %s\nterraform    %s = %q\n", s.Name, s.IssuerBase, s.Variable, s.Name)
	return err
}
