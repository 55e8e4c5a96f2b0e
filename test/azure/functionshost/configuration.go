package functionshost

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// configuration is host.json.
type configuration struct {
	Version         string         `json:"version"`
	FunctionTimeout duration       `json:"functionTimeout"`
	Logging         jsontext.Value `json:"logging"`
	CustomHandler   struct {
		Description struct {
			Executable string   `json:"defaultExecutablePath"`
			Arguments  []string `json:"arguments"`
		} `json:"description"`
		Forward bool `json:"enableForwardingHttpRequest"`
	} `json:"customHandler"`
	ExtensionBundle struct {
		ID      string `json:"id"`
		Version string `json:"version"`
	} `json:"extensionBundle"`
	Extensions struct {
		HTTP struct {
			RoutePrefix *string `json:"routePrefix"`
			Concurrent  int     `json:"maxConcurrentRequests"`
			Outstanding int     `json:"maxOutstandingRequests"`
		} `json:"http"`
		Queues queueSettings `json:"queues"`
	} `json:"extensions"`
}

// queueSettings begin with the host's defaults.
type queueSettings struct {
	Encoding   string   `json:"messageEncoding"`
	Batch      int32    `json:"batchSize"`
	Threshold  int      `json:"newBatchThreshold"`
	MaxDequeue int64    `json:"maxDequeueCount"`
	Polling    duration `json:"maxPollingInterval"`
	Visibility duration `json:"visibilityTimeout"`
}

// duration is hh:mm:ss.
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.Parse(time.TimeOnly, string(text))
	if err != nil {
		return fmt.Errorf("want hh:mm:ss: %w", err)
	}
	*d = duration(parsed.Sub(parsed.Truncate(24 * time.Hour)))
	return nil
}

// function is a folder of the package with its function.json.
type function struct {
	name     string
	trigger  binding
	response string // the name of the HTTP output
}

// binding is one of function.json.
type binding struct {
	Type      string `json:"type"`
	Direction string `json:"direction"`
	Name      string `json:"name"`

	AuthLevel string   `json:"authLevel"` // httpTrigger
	Methods   []string `json:"methods"`
	Route     *string  `json:"route"`

	QueueName  string `json:"queueName"` // queueTrigger
	Connection string `json:"connection"`

	Schedule     string `json:"schedule"` // timerTrigger
	RunOnStartup bool   `json:"runOnStartup"`
	UseMonitor   bool   `json:"useMonitor"`
}

// of says which members a binding of a type has, beside the three that all have.
var of = map[string]func(binding) binding{
	"httpTrigger":  func(b binding) binding { return binding{AuthLevel: b.AuthLevel, Methods: b.Methods, Route: b.Route} },
	"http":         func(binding) binding { return binding{} },
	"queueTrigger": func(b binding) binding { return binding{QueueName: b.QueueName, Connection: b.Connection} },
	"timerTrigger": func(b binding) binding {
		return binding{Schedule: b.Schedule, RunOnStartup: b.RunOnStartup, UseMonitor: b.UseMonitor}
	},
}

// load reads a package.
func load(folder string, settings map[string]string) (configuration, map[string]function, error) {
	config := configuration{}
	config.Extensions.Queues = queueSettings{Encoding: "base64", Batch: 16, Threshold: 8, MaxDequeue: 5}
	if err := readJSON(filepath.Join(folder, "host.json"), &config); err != nil {
		return config, nil, err
	}
	switch {
	case config.Version != "2.0":
		return config, nil, fmt.Errorf("host.json: version %q, want 2.0", config.Version)
	case config.CustomHandler.Description.Executable == "":
		return config, nil, errors.New("host.json: customHandler.description.defaultExecutablePath is missing")
	case config.CustomHandler.Forward:
		return config, nil, errors.New("host.json: enableForwardingHttpRequest is not for this host")
	case !slices.Contains([]string{"base64", "none"}, config.Extensions.Queues.Encoding):
		return config, nil, fmt.Errorf("host.json: messageEncoding %q, want base64 or none", config.Extensions.Queues.Encoding)
	}
	found, err := filepath.Glob(filepath.Join(folder, "*", "function.json"))
	if err != nil {
		return config, nil, err
	}
	functions := map[string]function{}
	for _, file := range found {
		name := filepath.Base(filepath.Dir(file))
		if settings["AzureWebJobs."+name+".Disabled"] == "true" {
			continue
		}
		if functions[name], err = loadFunction(file, name, settings); err != nil {
			return config, nil, fmt.Errorf("%s/function.json: %w", name, err)
		}
	}
	if len(functions) == 0 {
		return config, nil, fmt.Errorf("the package in %s has no functions", folder)
	}
	return config, functions, nil
}

var functionName = regexp.MustCompile(`^[A-Za-z][-_A-Za-z0-9]{0,126}$`)

func loadFunction(file, name string, settings map[string]string) (function, error) {
	var content struct {
		Bindings []binding `json:"bindings"`
	}
	if err := readJSON(file, &content); err != nil {
		return function{}, err
	}
	if !functionName.MatchString(name) || strings.EqualFold(name, "host") {
		return function{}, fmt.Errorf("%q can't be a function's name", name)
	}
	f := function{name: name}
	for _, b := range content.Bindings {
		members, known := of[b.Type]
		kept := binding{}
		if known {
			kept = members(b)
			kept.Type, kept.Direction, kept.Name = b.Type, b.Direction, b.Name
		}
		switch {
		case !known:
			return f, fmt.Errorf("a binding of the type %q is not for this host", b.Type)
		case fmt.Sprintf("%+v", kept) != fmt.Sprintf("%+v", b):
			return f, fmt.Errorf("the binding %q has members that a %s does not have", b.Name, b.Type)
		case b.Name == "":
			return f, fmt.Errorf("a %s has no name", b.Type)
		case b.Type == "http" && b.Direction == "out" && f.response == "":
			f.response = b.Name
		case b.Type != "http" && b.Direction == "in" && f.trigger.Type == "":
			f.trigger = b
		default:
			return f, fmt.Errorf("the binding %q has the direction %q, or is one too many", b.Name, b.Direction)
		}
	}
	return f, f.resolve(settings)
}

// resolve checks the trigger, and puts app settings in the place of their names.
func (f *function) resolve(settings map[string]string) error {
	if (f.trigger.Type == "httpTrigger") != (f.response != "") {
		return errors.New("an httpTrigger has an http output, and nothing else has")
	}
	switch b := &f.trigger; b.Type {
	case "httpTrigger":
		if b.AuthLevel != "anonymous" {
			return fmt.Errorf("authLevel %q is not for this host", b.AuthLevel)
		}
		if b.Route == nil {
			b.Route = &f.name
		}
		return nil
	case "timerTrigger":
		if fields := strings.Fields(b.Schedule); len(fields) != 6 {
			return fmt.Errorf("schedule %q has %d fields, want 6", b.Schedule, len(fields))
		}
		return nil
	case "queueTrigger":
		var missing error
		b.QueueName = regexp.MustCompile(`%[^%]+%`).ReplaceAllStringFunc(b.QueueName, func(reference string) string {
			value := settings[strings.Trim(reference, "%")]
			if value == "" {
				missing = errors.Join(missing, fmt.Errorf("'%s' does not resolve to a value: there is no such app setting", reference))
			}
			return value
		})
		return missing
	}
	return errors.New("it has no trigger")
}

// readJSON refuses what it does not know; see the package's comment.
func readJSON(file string, to any) error {
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the package has no %s: %w", filepath.Base(file), err)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, to, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	return nil
}
