package release_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// A stage is one image of the Dockerfile.
type stage struct {
	from, name   string
	instructions []instruction
}

type instruction struct{ name, rest string }

// parse reads the few instructions that our Dockerfile has; with anything else it is refused, so that nothing gets past the checks unseen.
func parse(text string) (stages []*stage, err error) {
	form := regexp.MustCompile(`^(FROM|ARG|LABEL|USER|COPY|EXPOSE|ENTRYPOINT) ([^\\]+)$`)
	for i, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, "# ") || line == "#" {
			continue
		}
		match := form.FindStringSubmatch(line)
		if match == nil {
			return nil, fmt.Errorf("line %d: %s is none of the instructions that are known to be harmless", i+1, line)
		}
		if match[1] == "FROM" {
			words := strings.Fields(match[2])
			if len(words) != 3 || words[1] != "AS" {
				return nil, fmt.Errorf("line %d: want FROM image AS name", i+1)
			}
			stages = append(stages, &stage{from: words[0], name: words[2]})
			continue
		}
		if len(stages) == 0 {
			return nil, fmt.Errorf("line %d: before FROM", i+1)
		}
		last := stages[len(stages)-1]
		last.instructions = append(last.instructions, instruction{match[1], match[2]})
	}
	return stages, nil
}

func (s *stage) all(name string) (rests []string) {
	for _, i := range s.instructions {
		if i.name == name {
			rests = append(rests, i.rest)
		}
	}
	return rests
}

// An image is a stage that the chart runs.
type image struct {
	Name string // the last part of its repository in the chart's values
	Port string // that the chart gives as an argument
}

var images = []image{{"cluster-exporter", "8080"}, {"kube-iam-assume-standalone", "8443"}}

// checkDockerfile returns what is wrong.
func checkDockerfile(text string, released []string) (problems []string) {
	stages, err := parse(text)
	if err != nil {
		return []string{err.Error()}
	}
	wrong := func(format string, arguments ...any) { problems = append(problems, fmt.Sprintf(format, arguments...)) }
	if len(stages) != 1+len(images) {
		return []string{"want a base and the chart's images"}
	}
	base := stages[0]
	if !regexp.MustCompile(`^gcr\.io/distroless/static-[a-z0-9]+:nonroot@sha256:[0-9a-f]{64}$`).MatchString(base.from) {
		wrong("the base %s is not distroless by digest", base.from)
	}
	if got := base.all("USER"); !slices.Equal(got, []string{"65532:65532"}) {
		wrong("the user is %v: a number, or Kubernetes can't tell that it is not root", got)
	}
	for i, stage := range stages[1:] {
		want := images[i]
		if stage.from != base.name || stage.name != want.Name || len(stage.all("USER")) > 0 {
			wrong("stage %s of %s: want %s of the base, as its user", stage.name, stage.from, want.Name)
		}
		if got := stage.all("ENTRYPOINT"); !slices.Equal(got, []string{`["/` + want.Name + `"]`}) {
			wrong("%s starts %v, want the program, without a shell", want.Name, got)
		}
		if got := stage.all("EXPOSE"); !slices.Equal(got, []string{want.Port}) {
			wrong("%s is at port %v, the chart's at %s", want.Name, got, want.Port)
		}
		if got := stage.all("COPY"); !slices.Equal(got, []string{"--chmod=0555 " + want.Name + "-linux-${TARGETARCH} /" + want.Name}) || !slices.Contains(stage.all("ARG"), "TARGETARCH") {
			wrong("%s holds %v, want the released program alone", want.Name, got)
		}
		for _, processor := range []string{"amd64", "arm64"} {
			if file := want.Name + "-linux-" + processor; !slices.Contains(released, file) {
				wrong("%s is not released", file)
			}
		}
	}
	return problems
}

// released are the names of all artifacts, as the script tells who names one that there is not.
func released(t *testing.T) []string {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(filepath.Join(folder, ".ci"), os.DirFS(filepath.Join(root, ".ci"))); err != nil {
		t.Fatal(err)
	}
	out, err := release(t, folder, "v1.2.3", "nothing")
	_, list, found := strings.Cut(out, "want one of ")
	if err == nil || !found {
		t.Fatalf("%v %s", err, out)
	}
	return strings.Fields(list)
}

func TestImages(t *testing.T) {
	t.Parallel()
	files := released(t)
	text := string(read(t, root+"/deploy/images/Dockerfile"))
	for _, problem := range checkDockerfile(text, files) {
		t.Error(problem)
	}
	digest := regexp.MustCompile(`@sha256:[0-9a-f]{64}`).FindString(text)
	for from, to := range map[string]string{
		digest: "", "USER 65532:65532": "USER nonroot", `["/cluster-exporter"]`: "/cluster-exporter", "EXPOSE 8080": "EXPOSE 80", "ARG TARGETARCH\n": "",
		"FROM base AS cluster-exporter": "FROM scratch AS cluster-exporter", "--chmod=0555 ": "--chmod=4555 ", "standalone-linux-": "standalone-linus-",
		"LABEL org.opencontainers.image.title=\"cluster-exporter\"": "RUN true", "AS kube-iam-assume-standalone": "AS standalone", ":nonroot@": ":debug@",
		"EXPOSE 8443": "USER 0:0\nEXPOSE 8443",
	} {
		if !strings.Contains(text, from) || len(checkDockerfile(strings.Replace(text, from, to, 1), files)) == 0 {
			t.Errorf("nobody sees %q instead of %q", to, from)
		}
	}
}

// The chart runs these images, as they start by themselves.
func TestChartRunsTheImages(t *testing.T) {
	t.Parallel()
	data, err := yaml.YAMLToJSON(read(t, chart+"/values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	type workload struct {
		Image struct{ Repository, Tag string }
	}
	var values struct{ Exporter, Publisher workload }
	if err := json.Unmarshal(data, &values); err != nil {
		t.Fatal(err)
	}
	for i, w := range []workload{values.Exporter, values.Publisher} {
		if w.Image.Repository != "ghcr.io/kube-iam-assume/"+images[i].Name || w.Image.Tag != "" {
			t.Errorf("the chart runs %+v, the image is %s", w.Image, images[i].Name)
		}
	}
	for i, file := range []string{"deployment.yaml", "publisher/deployment.yaml"} {
		template := string(read(t, filepath.Join(chart, "templates", file)))
		if regexp.MustCompile(`(?m)^\s*command:`).MatchString(template) || !strings.Contains(template, "- --listen=:"+images[i].Port+"\n") {
			t.Errorf("%s does not start the image's program, or not at port %s", file, images[i].Port)
		}
	}
}
