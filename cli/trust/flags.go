package trust

import (
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
)

// Flags are how a person says who is to be let in.
type Flags struct {
	accounts, namespaces  []string
	issuers, clusterFiles []string
	publisher, base       string
	only                  []string // IDs of clusters
}

// Add puts the flags on a command.
func (f *Flags) Add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringArrayVar(&f.accounts, "service-account", nil, "`namespace/name` to let in, exactly; as often as needed")
	flags.StringArrayVar(&f.namespaces, "allow-namespace", nil, "`namespace` all of whose service accounts are let in, future ones included: say so only if you mean it")
	f.AddClusters(c)
}

// AddClusters puts only those flags on a command that say which clusters.
func (f *Flags) AddClusters(c *cobra.Command) {
	flags := c.Flags()
	flags.StringArrayVar(&f.issuers, "issuer", nil, "issuer `URL` of a cluster, or ID=URL; as often as needed")
	flags.StringVar(&f.publisher, "publisher", "", "publisher's settings `file`, for the issuers in it")
	flags.StringArrayVar(&f.only, "cluster", nil, "with --publisher: only this cluster's `ID`; as often as needed")
	flags.StringArrayVar(&f.clusterFiles, "cluster-file", nil, "`file` that enroll printed, with --issuer-base; as often as needed")
	flags.StringVar(&f.base, "issuer-base", "", "with --cluster-file: `URL` to which a cluster's ID is added for its issuer, as stacks do")
}

// Selection is what the flags say. The errors are ErrInput, and those of the files.
func (f *Flags) Selection() (Selection, error) {
	var s Selection
	for _, text := range f.accounts {
		account, err := ParseServiceAccount(text)
		if err != nil {
			return s, err
		}
		if !slices.Contains(s.Accounts, account) {
			s.Accounts = append(s.Accounts, account)
		}
	}
	for _, text := range f.namespaces {
		namespace, err := ParseNamespace(text)
		if err != nil {
			return s, err
		}
		if !slices.Contains(s.Namespaces, namespace) {
			s.Namespaces = append(s.Namespaces, namespace)
		}
	}
	var err error
	s.Clusters, err = f.Clusters()
	return s, err
}

// Clusters are those that the flags name. The errors are ErrInput, and those of the files.
func (f *Flags) Clusters() ([]Cluster, error) {
	if (len(f.clusterFiles) > 0) != (f.base != "") {
		return nil, fmt.Errorf("%w call: --cluster-file and --issuer-base go together: a cluster's file does not know its issuer", ErrInput)
	}
	if len(f.only) > 0 && f.publisher == "" {
		return nil, fmt.Errorf("%w call: --cluster chooses among the clusters of --publisher", ErrInput)
	}
	var clusters []Cluster
	for _, text := range f.issuers {
		c, err := ParseCluster(text)
		if err != nil {
			return nil, err
		}
		clusters = append(clusters, c)
	}
	for _, file := range f.clusterFiles {
		c, err := f.clusterFile(file)
		if err != nil {
			return nil, err
		}
		clusters = append(clusters, c)
	}
	if f.publisher == "" {
		return clusters, nil
	}
	published, err := f.published()
	return append(clusters, published...), err
}

func (f *Flags) clusterFile(file string) (Cluster, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return Cluster{}, err
	}
	enrolled, err := enrollment.ParseCluster(file, data)
	if err != nil {
		return Cluster{}, err
	}
	return ParseCluster(enrolled.ID + "=" + f.base + "/" + enrolled.ID)
}

func (f *Flags) published() ([]Cluster, error) {
	settings, err := enrollment.Load(f.publisher)
	if err != nil {
		return nil, err
	}
	var clusters []Cluster
	found := map[string]bool{}
	for _, issuer := range settings.Issuers {
		for _, member := range issuer.Clusters {
			found[member.ID] = true
			if member.Removed || len(f.only) > 0 && !slices.Contains(f.only, member.ID) {
				continue
			}
			c, err := ParseCluster(member.ID + "=" + issuer.URL)
			if err != nil {
				return nil, err
			}
			c.Shared = len(issuer.Clusters) > 1
			clusters = append(clusters, c)
			break // members of a shared issuer are one to every consumer
		}
	}
	for _, id := range f.only {
		if !found[id] {
			return nil, fmt.Errorf("%w call: --cluster %s: %s has none of this ID", ErrInput, id, f.publisher)
		}
	}
	return clusters, nil
}
