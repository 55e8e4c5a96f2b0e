package migrate

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"sigs.k8s.io/yaml"
)

// folder is where the commands of a written plan find its files; empty: they hold everything themselves.
type folder bool

// Text writes the plan for people, step by step.
func (p *Plan) Text(out io.Writer) error { return p.text(out, false) }

func (p *Plan) text(out io.Writer, files folder) error {
	w := &page{out: out}
	w.line("Plan: from %s to tokens of %s for %s", p.Settings.Agent, p.Issuer, p.Audience)
	w.line("Workloads: %d; service accounts: %d, of which to make: %d; roles: %d; decisions: %d", len(p.Workloads), len(p.Accounts), p.made(), len(p.Roles), len(p.Decisions))
	w.findings("Decisions: what this plan leaves to you", p.Decisions)
	w.findings("Notes", p.Notes)
	if len(p.Workloads) > 0 {
		p.accountsText(w, files)
		p.rolesText(w, files)
		p.workloadsText(w, files)
		p.verifyText(w)
		p.backText(w, files)
	}
	p.closingText(w)
	return w.err
}

func (p *Plan) made() int {
	n := 0
	for _, a := range p.Accounts {
		if a.Make {
			n++
		}
	}
	return n
}

// page keeps the first error of writing.
type page struct {
	out io.Writer
	err error
}

func (w *page) line(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.out, format+"\n", args...)
	}
}

func (w *page) head(title string) { w.line("\n%s\n%s", title, strings.Repeat("-", len([]rune(title)))) }

func (w *page) findings(title string, all []Finding) {
	if len(all) == 0 {
		return
	}
	w.head(title)
	for _, f := range all {
		w.line("- %s: %s", f.Where, f.What)
		if f.Remedy != "" {
			w.line("  %s", f.Remedy)
		}
	}
}

func (p *Plan) accountsText(w *page, files folder) {
	w.head("1. Service accounts")
	for _, a := range p.Accounts {
		verb := "use"
		if a.Make {
			verb = "make"
		}
		w.line("%s %s for %s: %s", verb, a.ServiceAccount, a.Role, join(a.Workloads))
	}
	switch manifests := p.manifests(); {
	case len(manifests) == 0:
	case bool(files):
		w.line("\nkubectl apply -f %s", accountsFile)
	default:
		w.line("\nkubectl apply -f - <<'EOF'\n%sEOF", manifests)
	}
}

// manifests are the service accounts to make, as YAML.
func (p *Plan) manifests() []byte {
	var all []byte
	for _, a := range p.Accounts {
		if a.Manifest == nil {
			continue
		}
		if len(all) > 0 {
			all = append(all, "---\n"...)
		}
		data, err := yaml.Marshal(a.Manifest)
		if err != nil {
			panic(fmt.Sprintf("migrate: a service account can't be written as YAML: %v", err))
		}
		all = append(all, data...)
	}
	return all
}

func (p *Plan) rolesText(w *page, files folder) {
	w.head("2. Trust of roles, before any workload")
	accounts := map[string]bool{}
	for _, r := range p.Roles {
		partition, id := accountOf(r.ARN)
		if !accounts[id] {
			accounts[id] = true
			w.line("kube-iam-assume setup aws --issuer %s --account %s --partition %s --audience %s   # the identity provider; registered already: no change", p.Issuer, id, partition, p.Audience)
		}
	}
	for _, r := range p.Roles {
		w.line("\n# %s: %s; %d characters", r.ARN, join(r.Accounts), r.Characters)
		switch {
		case len(r.Parts) > 0:
			w.line("# longer than IAM takes: see the decisions. Its parts, each for a role of its own:")
			for i, part := range r.Parts {
				w.line("# part %d: %d characters\n%s", i+1, part.Characters, part.Document)
			}
		case !r.Whole:
			w.line("# to be added to the present policy:\n%s", indented(r.Document))
		case !r.Changed:
			w.line("# trusts them already")
		case bool(files):
			w.line("aws iam update-assume-role-policy --role-name %s --policy-document file://%s", lastPart(r.ARN), r.file())
		default:
			w.line("%s", updateTrust(r.ARN, r.Document))
		}
	}
}

func indented(document json.RawMessage) string {
	text, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return string(document)
	}
	return string(text)
}

func (p *Plan) workloadsText(w *page, files folder) {
	w.head("3. Workloads, one at a time, each verified (4) before the next")
	for _, each := range p.Workloads {
		w.line("\n# %s: %s, as %s", each.ID, each.Role, each.ServiceAccount)
		for _, note := range each.Notes {
			w.line("#   %s", note)
		}
		each.commands(w, "switch", each.Switch, files)
	}
	w.head("   When nothing has gone wrong for some days: the old way's traces")
	for _, each := range p.Workloads {
		each.commands(w, "finish", each.Finish, files)
	}
}

// commands are those of one step with a workload.
func (each Workload) commands(w *page, step string, patch json.RawMessage, files folder) {
	anew := each.Replacement
	if strings.HasPrefix(step, "undo") {
		anew = each.Original
	}
	switch {
	case anew != nil && strings.HasSuffix(step, "finish"): // made anew without the traces
	case anew != nil:
		w.line("# a %s can't be changed: it is made anew", each.Kind)
		if files {
			w.line("kubectl replace --force -f %s", each.file(step))
		} else {
			w.line("kubectl replace --force -f - <<'EOF'\n%s\nEOF", indented(anew))
		}
	case patch == nil:
		if step == "switch" {
			w.line("# done already")
		}
	case bool(files):
		w.line("kubectl -n %s patch %s %s --patch-file %s", each.Namespace, strings.ToLower(each.Kind), each.Name, each.file(step))
	default:
		w.line("kubectl -n %s patch %s %s -p %s", each.Namespace, strings.ToLower(each.Kind), each.Name, quote(string(patch)))
	}
}

func (p *Plan) verifyText(w *page) {
	w.head("4. Verification of each workload")
	for _, each := range p.Workloads {
		w.line("\n# %s", each.ID)
		for _, command := range each.Verify {
			w.line("%s", command)
		}
	}
	w.line("\nAn image without the AWS CLI: CloudTrail's AssumeRoleWithWebIdentity events name the service account as the user.")
	w.line("If a token is refused: kube-iam-assume doctor --issuer %s", p.Issuer)
}

func (p *Plan) backText(w *page, files folder) {
	w.head("5. Way back, of each step")
	w.line("Keep this plan: one that is made later knows the way back of what is left only.")
	for _, each := range p.Workloads {
		w.line("\n# %s", each.ID)
		each.commands(w, "undo-finish", each.UndoFinish, files)
		each.commands(w, "undo-switch", each.UndoSwitch, files)
	}
	w.line("\n# roles, when no workload uses its token any more, and unless somebody else has changed them since")
	for _, r := range p.Roles {
		switch {
		case !r.Changed, len(r.Parts) > 0:
		case !r.Whole:
			w.line("# %s: take the statement out again", r.ARN)
		case bool(files):
			w.line("aws iam update-assume-role-policy --role-name %s --policy-document file://%s", lastPart(r.ARN), r.beforeFile())
		default:
			w.line("%s", updateTrust(r.ARN, r.Before))
		}
	}
	w.line("\n# service accounts, last")
	for _, a := range p.Accounts {
		if a.Make {
			w.line("kubectl -n %s delete serviceaccount %s", a.ServiceAccount.Namespace, a.ServiceAccount.Name)
		}
	}
}

func (p *Plan) closingText(w *page) {
	w.head("6. The last step, from which there is no easy way back")
	if !p.Closing.Ready {
		w.line("NOT YET. These use the old way, or could not be read:")
		for _, id := range p.Closing.Left {
			w.line("- %s", id)
		}
		w.line("Plan again when they are done. This step is printed when nothing is left in that list.")
	}
	if len(p.Closing.Needs) > 0 {
		w.line("These may need the node's metadata:")
		for _, need := range p.Closing.Needs {
			w.line("- %s", need)
		}
	}
	for _, action := range p.Closing.Actions {
		w.line("\n%s", action.What)
		for _, command := range action.Commands {
			w.line("  %s", command)
		}
	}
}
