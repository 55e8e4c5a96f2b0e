// Package plan is how every `setup` changes something: what differs is found first and shown, a person agrees, and only that is changed, in an
// order in which a half-finished one does no harm. A second run finds nothing to do.
package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
)

// ErrDeclined means that the person did not agree, and nothing was changed.
var ErrDeclined = errors.New("nothing was changed")

// A Verb is what is done to a thing.
type Verb string

// What is done.
const (
	Create   Verb = "create"
	Update   Verb = "update"
	Delete   Verb = "delete"
	Undelete Verb = "undelete"
)

// A Change is one thing that differs.
type Change struct {
	Do     Verb   `json:"do"`
	What   string `json:"what"`
	Detail string `json:"detail,omitempty"`
	Done   bool   `json:"done"`
	Result string `json:"result,omitempty"` // what came of it that the person should know; Apply sets it

	Apply func(context.Context) error `json:"-"`
}

// A Plan is what differs, in the order in which it is changed.
type Plan struct {
	Changes []Change `json:"changes"`
	Notes   []string `json:"notes,omitempty"`
}

// Add appends a change.
func (p *Plan) Add(do Verb, what, detail string, apply func(context.Context) error) {
	p.Changes = append(p.Changes, Change{Do: do, What: what, Detail: detail, Apply: apply})
}

// Note appends what the person should know, once.
func (p *Plan) Note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(p.Notes, text) {
		p.Notes = append(p.Notes, text)
	}
}

// Options are the flags that every setup has.
type Options struct {
	DryRun, Yes, Remove bool
	Print               string
	Output              command.Output
}

// Forms of what --print writes.
const (
	CLI       = "cli"
	Terraform = "terraform"
)

// Flags puts the options on a command. The name is of the provider's own command line, for help.
func (o *Options) Flags(c *cobra.Command, commandLine string) {
	f := c.Flags()
	f.BoolVar(&o.DryRun, "dry-run", false, "show what would be changed, and change nothing")
	f.BoolVar(&o.Yes, "yes", false, "do not ask")
	f.BoolVar(&o.Remove, "remove", false, "take away what setup registers, in the order that leaves nothing open")
	f.StringVar(&o.Print, "print", "", "print the same as `form` cli ("+commandLine+") or terraform instead, without asking anybody")
	o.Output.Flag(c)
}

// Check refuses options that don't go together, as a wrong call.
func (o *Options) Check(c *cobra.Command) error {
	switch {
	case o.Print != "" && o.Print != CLI && o.Print != Terraform:
		return command.Usage(c, fmt.Errorf("--print %q: want cli or terraform", o.Print))
	case o.Print != "" && (o.Remove || o.DryRun || o.Yes):
		return command.Usage(c, errors.New("--print changes nothing, so it goes with none of --remove, --dry-run and --yes"))
	case !o.Output.ForPeople() && !o.DryRun && !o.Yes && o.Print == "":
		return command.Usage(c, errors.New("-o is for programs, which can't be asked: want --dry-run or --yes with it"))
	}
	return nil
}

// Carry shows the plan, asks, and changes. Whatever happens, the report says what was done.
func (o *Options) Carry(c *cobra.Command, p *Plan) error {
	out, people := c.OutOrStdout(), o.Output.ForPeople()
	if p.Changes == nil {
		p.Changes = []Change{}
	}
	if people {
		if err := p.show(out); err != nil {
			return err
		}
	}
	if people && !o.DryRun && !o.Yes && len(p.Changes) > 0 && !command.Confirmed(out, c.InOrStdin()) {
		return ErrDeclined
	}
	var failed error
	if !o.DryRun {
		failed = p.apply(c.Context(), out, people)
	}
	if !people {
		if err := o.Output.Print(out, p, nil); err != nil {
			return err
		}
	}
	return failed
}

func (p *Plan) show(out io.Writer) error {
	if len(p.Changes) == 0 {
		fmt.Fprintln(out, "It is so already: nothing to change.")
	} else {
		fmt.Fprintln(out, "This changes:")
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, change := range p.Changes {
		fmt.Fprintf(w, "  %s\t%s\n", change.Do, change.What)
		for line := range strings.SplitSeq(change.Detail, "\n") {
			if line != "" {
				fmt.Fprintf(w, "  \t  %s\n", line)
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, note := range p.Notes {
		fmt.Fprintln(out, note)
	}
	return nil
}

func (p *Plan) apply(ctx context.Context, out io.Writer, people bool) error {
	for i := range p.Changes {
		change := &p.Changes[i]
		if err := change.Apply(ctx); err != nil {
			return fmt.Errorf("%s %s: %w; run the same again when that is mended: what was done stays, and is not done twice", change.Do, change.What, err)
		}
		change.Done = true
		if people {
			fmt.Fprintf(out, "Done: %s %s.\n", change.Do, change.What)
			if change.Result != "" {
				fmt.Fprintf(out, "  %s\n", change.Result)
			}
		}
	}
	return nil
}
