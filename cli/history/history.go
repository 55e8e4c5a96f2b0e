// Package history lists a publisher's log and verifies it again, as an auditor does who trusts neither publisher nor bucket: each record
// names the digest of the one before, every snapshot in it is still signed, and somebody whom the log knows to be trusted vouched.
//
// It only reads, and needs nothing but the files: those of a standalone publisher, or a private bucket that was downloaded. What it can't
// see is a log that was written anew from its first record together with its state; keep an older copy, or the last digest, elsewhere.
package history

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
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

--data is the directory of a standalone publisher, or a folder into which you downloaded a private bucket (its log/ and state/).
Exit code 0: the log holds; 1: it does not; 2: wrong call.`,
		Example: `  kube-iam-assume history --data /var/lib/kube-iam-assume
  aws s3 sync s3://my-private-bucket ./private && kube-iam-assume history --data ./private -o json
  gcloud storage cp -r gs://my-private-bucket/* ./private && kube-iam-assume history --data ./private --issuer https://oidc.example.com/prod`,
		Args: command.Exactly(0, "no arguments; the folder is --data"),
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := Read(os.DirFS(data), issuer)
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
	c.Flags().StringVar(&data, "data", "/var/lib/kube-iam-assume", "`directory` of a standalone publisher, or a downloaded private bucket")
	c.Flags().StringVar(&issuer, "issuer", "", "only the log of this issuer `URL`")
	output.Flag(c)
	return c
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
