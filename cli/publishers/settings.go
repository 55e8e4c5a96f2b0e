package publishers

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

const kind = "Publishers"

// file is publishers.yaml.
type file struct {
	settings.Header `yaml:",inline"`

	Publishers []Publisher `json:"publishers" yaml:"publishers"`
}

// Publisher is one of an issuer's, and the operator's door to it: exactly one.
type Publisher struct {
	Name        string            `json:"name"                  yaml:"name"`
	Lambda      *Lambda           `json:"lambda,omitempty"      yaml:"lambda,omitempty"`
	CloudRun    *CloudRun         `json:"cloudRun,omitempty"    yaml:"cloudRun,omitempty"`
	FunctionApp *FunctionApp      `json:"functionApp,omitempty" yaml:"functionApp,omitempty"`
	Directory   *Directory        `json:"directory,omitempty"   yaml:"directory,omitempty"`
	ServedAt    map[string]string `json:"servedAt,omitempty"    yaml:"servedAt,omitempty"` // issuer → URL of its documents here, on a mirror

	through door // tests set it
}

// The doors.
type (
	// Lambda is a function of AWS, invoked directly. Its ARN pins account and region.
	Lambda struct {
		Function string `json:"function"          yaml:"function"`
		Profile  string `json:"profile,omitempty" yaml:"profile,omitempty"` // of the AWS configuration; default: AWS_PROFILE
	}
	// CloudRun is the service of Google Cloud with the door Operate.
	CloudRun struct {
		URL          string   `json:"url"                    yaml:"url"`
		Audience     string   `json:"audience,omitempty"     yaml:"audience,omitempty"`     // of the ID token; default: the URL without its path
		Impersonate  string   `json:"impersonate,omitempty"  yaml:"impersonate,omitempty"`  // service account whose ID token it is
		TokenCommand []string `json:"tokenCommand,omitempty" yaml:"tokenCommand,omitempty"` // program that prints an ID token, run without a shell
	}
	// FunctionApp is one of Azure.
	FunctionApp struct {
		URL      string `json:"url"                yaml:"url"`
		Audience string `json:"audience"           yaml:"audience"` // application ID URI, or application ID, of the operator's door
		TenantID string `json:"tenantID,omitempty" yaml:"tenantID,omitempty"`
	}
	// Directory is a standalone publisher on this machine. Paths are relative to the file that names them.
	Directory struct {
		Settings string `json:"settings" yaml:"settings"`
		Data     string `json:"data"     yaml:"data"`
	}
)

// Load reads publishers.yaml. The errors are settings.ErrInvalid and those of the file system.
func Load(name string) ([]Publisher, error) {
	opened, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read the publishers: %w", err)
	}
	defer opened.Close()
	data, err := io.ReadAll(io.LimitReader(opened, settings.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the publishers: %w", err)
	}
	all, err := Parse(name, data)
	for _, p := range all {
		if p.Directory != nil {
			p.Directory.Settings, p.Directory.Data = beside(name, p.Directory.Settings), beside(name, p.Directory.Data)
		}
	}
	return all, err
}

func beside(name, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(name), path)
}

// Parse reads publishers.yaml. The error is settings.ErrInvalid, with file and line.
func Parse(name string, data []byte) ([]Publisher, error) {
	var f file
	d, err := settings.Decode(name, data, kind, &f)
	if err != nil {
		return nil, err
	}
	if len(f.Publishers) == 0 {
		return nil, d.Errorf([]any{"publishers"}, "no publishers: kube-iam-assume publishers writes them from stacks' outputs")
	}
	lines, doors := map[string]bool{}, map[string]string{}
	for i, p := range f.Publishers {
		if lines[p.Name] {
			return nil, d.Errorf([]any{"publishers", i, "name"}, "publisher %s is listed twice: each result is told by its name", p.Name)
		}
		lines[p.Name] = true
		if field, err := p.check(); err != nil {
			return nil, d.Errorf(append([]any{"publishers", i}, field...), "%w", err)
		}
		if other, taken := doors[p.Where()]; taken {
			return nil, d.Errorf([]any{"publishers", i}, "publisher %s has the door of %s: list it once", p.Name, other)
		}
		doors[p.Where()] = p.Name
	}
	return f.Publishers, nil
}

// Encode writes publishers.yaml.
func Encode(all []Publisher) ([]byte, error) {
	var out strings.Builder
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	encoder.CompactSeqIndent()
	if err := encoder.Encode(file{Header: settings.Header{APIVersion: settings.APIVersion, Kind: kind}, Publishers: all}); err != nil {
		return nil, err
	}
	return []byte(out.String()), encoder.Close()
}

var (
	namePattern  = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9_.:/@ ]{0,127}$`)
	functionARN  = regexp.MustCompile(`^arn:aws[a-z-]*:lambda:([a-z]{2}[a-z0-9-]+):[0-9]{12}:function:[A-Za-z0-9_-]{1,64}(:[A-Za-z0-9_$-]{1,128})?$`)
	emailPattern = regexp.MustCompile(`^[^@\s/]+@[^@\s/]+\.gserviceaccount\.com$`)
	tenant       = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	application  = regexp.MustCompile(`^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[a-z]+://[^\s?#]+[^\s?#/])$`)
)

// check says what is wrong, and of which field.
func (p Publisher) check() (field []any, err error) {
	if !namePattern.MatchString(p.Name) {
		return []any{"name"}, fmt.Errorf("name %.140q: want the publisher's name, such as prod/111122223333", p.Name)
	}
	doors := 0
	for _, given := range []bool{p.Lambda != nil, p.CloudRun != nil, p.FunctionApp != nil, p.Directory != nil} {
		if given {
			doors++
		}
	}
	if doors != 1 {
		return nil, fmt.Errorf("publisher %s has %d doors: want one of lambda, cloudRun, functionApp, directory", p.Name, doors)
	}
	for issuer, place := range p.ServedAt {
		for _, u := range []string{issuer, place} {
			if err := checkURL(u); err != nil || strings.HasSuffix(u, "/") {
				return []any{"servedAt", issuer}, fmt.Errorf("%q: want https://HOST/PATH without a slash at its end", u)
			}
		}
	}
	return p.checkDoor()
}

func (p Publisher) checkDoor() (field []any, err error) {
	switch {
	case p.Lambda != nil:
		if !functionARN.MatchString(p.Lambda.Function) {
			return []any{"lambda", "function"}, fmt.Errorf("function %.200q: want its ARN, which pins account and region: arn:aws:lambda:REGION:ACCOUNT:function:NAME", p.Lambda.Function)
		}
	case p.CloudRun != nil:
		field, err := p.CloudRun.check()
		return append([]any{"cloudRun"}, field...), err
	case p.FunctionApp != nil:
		field, err := p.FunctionApp.check()
		return append([]any{"functionApp"}, field...), err
	case p.Directory.Settings == "" || p.Directory.Data == "":
		return []any{"directory"}, fmt.Errorf("want settings (publisher.yaml) and data (what the publisher has as --data)")
	}
	return nil, nil
}

func (c CloudRun) check() (field []any, err error) {
	switch err := checkURL(c.URL); {
	case err != nil:
		return []any{"url"}, err
	case c.Impersonate != "" && !emailPattern.MatchString(c.Impersonate):
		return []any{"impersonate"}, fmt.Errorf("impersonate %q: want a service account, NAME@PROJECT.iam.gserviceaccount.com", c.Impersonate)
	case c.Impersonate != "" && len(c.TokenCommand) > 0:
		return []any{"tokenCommand"}, fmt.Errorf("impersonate and tokenCommand are two ways to one token: keep one")
	case slices.Contains(c.TokenCommand, ""):
		return []any{"tokenCommand"}, fmt.Errorf("tokenCommand: an empty word: want a program and its arguments, such as [gcloud, auth, print-identity-token]")
	}
	return nil, nil
}

func (a FunctionApp) check() (field []any, err error) {
	switch err := checkURL(a.URL); {
	case err != nil:
		return []any{"url"}, err
	case !application.MatchString(a.Audience):
		return []any{"audience"}, fmt.Errorf("audience %q: want the application ID URI (or the application ID) of the app registration that stands for the operator's door", a.Audience)
	case a.TenantID != "" && !tenant.MatchString(a.TenantID):
		return []any{"tenantID"}, fmt.Errorf("tenantID %q: want the tenant's ID, as az account show --query tenantId says it", a.TenantID)
	}
	return nil, nil
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return fmt.Errorf("url %.200q: want https://HOST/PATH: a token goes there", text)
	}
	return nil
}

// Where says in a few words where the publisher's door is.
func (p Publisher) Where() string {
	switch {
	case p.Lambda != nil:
		return p.Lambda.Function
	case p.CloudRun != nil:
		return p.CloudRun.URL
	case p.FunctionApp != nil:
		return p.FunctionApp.URL
	}
	return "directory " + p.Directory.Data
}

func (p Publisher) door(ctx context.Context) (door, error) {
	switch {
	case p.through != nil:
		return p.through, nil
	case p.Lambda != nil:
		return openLambda(ctx, *p.Lambda)
	case p.CloudRun != nil:
		return openCloudRun(ctx, *p.CloudRun)
	case p.FunctionApp != nil:
		return openFunctionApp(*p.FunctionApp)
	}
	return openDirectory(*p.Directory)
}
