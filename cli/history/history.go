// Package history lists a publisher's log and verifies it again, as an auditor does who trusts neither publisher nor bucket: each record
// names the digest of the one before, every snapshot in it is still signed, and somebody whom the log knows to be trusted vouched.
//
// It only reads, and needs nothing but the files: those of a standalone publisher, or a private bucket, downloaded or where it is. What it can't
// see is a log that was written anew from its first record together with its state; keep an older copy, or the last digest, elsewhere.
package history

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/location"
)

// ErrBroken means that a log is not what a publisher wrote.
var ErrBroken = errors.New("the log does not hold; the report above says where")

// Command is `kube-iam-assume history`.
func Command() *cobra.Command {
	var data, issuer string
	var output command.Output
	c := &cobra.Command{
		Use:   "history",
		Short: "List and verify again a publisher's log: which key came when, on whose word",
		Long: `history reads the log of accepted snapshots and statements that a publisher keeps, and verifies it again: no record is missing or was
changed, every snapshot is signed, and somebody trusted at that moment vouched for it. It changes nothing and asks nobody.

--data is the directory of a standalone publisher; a publisher's private bucket in a cloud, with --issuer, read with the credentials of the cloud's own
tools; or a folder into which you downloaded such a bucket (its log/ and state/).
Exit code 0: the log holds; 1: it does not; 2: wrong call.`,
		Example: `  kube-iam-assume history --data /var/lib/kube-iam-assume
  kube-iam-assume history --data s3://my-private-bucket --issuer https://oidc.example.com/prod
  aws s3 sync s3://my-private-bucket ./private && kube-iam-assume history --data ./private -o json
  gcloud storage cp -r gs://my-private-bucket/* ./private && kube-iam-assume history --data ./private --issuer https://oidc.example.com/prod`,
		Args: command.Exactly(0, "no arguments; the place is --data"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := check(data, issuer); err != nil {
				return command.Usage(c, err)
			}
			r, err := readAny(c.Context(), data, issuer)
			if err != nil {
				return fmt.Errorf("history of %s: %w", data, err)
			}
			if err := output.Print(c.OutOrStdout(), r, r.print); err != nil {
				return err
			}
			if r.problems() > 0 {
				return ErrBroken
			}
			return nil
		},
	}
	c.Flags().StringVar(&data, "data", "/var/lib/kube-iam-assume", "`place` of a publisher's data: a directory, s3://BUCKET, gs://BUCKET or https://ACCOUNT.blob.core.windows.net/CONTAINER")
	c.Flags().StringVar(&issuer, "issuer", "", "only the log of this issuer `URL`")
	output.Flag(c)
	return c
}

func check(data, issuer string) error {
	if location.InCloud(data) && issuer == "" {
		return errors.New("--data in a cloud: say --issuer, too, as buckets are not listed")
	}
	return location.Check(data)
}

func readAny(ctx context.Context, data, issuer string) (Report, error) {
	if !location.InCloud(data) {
		return Read(os.DirFS(data), issuer)
	}
	from, err := location.Open(ctx, data)
	if err != nil {
		return Report{}, err
	}
	return ReadBucket(ctx, from, issuer)
}

// Read verifies the logs of a folder, of one issuer or (with "") of all. The errors are ErrNoLog and those of the file system; what is
// wrong with a log is in the report.
func Read(fsys fs.FS, issuer string) (Report, error) {
	if _, err := fs.Stat(fsys, "."); err != nil {
		return Report{}, err
	}
	folders, err := find(fsys)
	if err != nil {
		return Report{}, err
	}
	var r Report
	for _, f := range folders {
		log := Log{Records: []Record{}, Keys: []Life{}}
		w := walk{fsys: fsys, log: &log}
		w.all(f)
		if log.Issuer == "" { // nothing but settings and time made a record
			log.Issuer = "https://" + strings.NewReplacer("!", "/", "~", ":").Replace(f.id)
		}
		if issuer == "" || log.Issuer == issuer {
			r.Logs = append(r.Logs, log)
		}
	}
	if len(r.Logs) == 0 {
		return r, fmt.Errorf("%w of the issuer %s", ErrNoLog, issuer)
	}
	return r, nil
}
