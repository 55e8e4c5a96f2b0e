//go:build linux

package pod_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/test/chart/pod"
)

func TestMain(m *testing.M) {
	pod.Main()
	os.Exit(m.Run())
}

// A program in a pod is nobody in particular, sees nothing of the machine and reaches nothing but what it is led to.
func TestPod(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "probe")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	server, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	machine := pod.Machine{Entrypoint: binary, Routes: map[string]pod.Dial{"198.51.100.7:443": func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", server.Addr().String())
	}}}
	for _, argument := range []string{"succeed", "fail"} {
		described := &core.Pod{ObjectMeta: meta.ObjectMeta{Name: "probe", UID: "1-2-3"}, Spec: core.PodSpec{
			Volumes: []core.Volume{{Name: "data", VolumeSource: core.VolumeSource{PersistentVolumeClaim: &core.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}},
			Containers: []core.Container{{
				Args: []string{argument}, VolumeMounts: []core.VolumeMount{{Name: "data", MountPath: "/data"}},
				Env: []core.EnvVar{{Name: "ID", ValueFrom: &core.EnvVarSource{FieldRef: &core.ObjectFieldSelector{FieldPath: "metadata.uid"}}}},
			}},
		}}
		p := pod.Start(t, machine, described)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if succeeded, err := p.Wait(ctx); err != nil || succeeded != (argument == "succeed") {
			t.Errorf("succeeded is %v, %v", succeeded, err)
		}
		const want = `capabilities 0
write / false
write /etc false
write /data true
entry data
entry entrypoint
entry etc
reach 198.51.100.7:443 true
reach 198.51.100.8:443 false
reach 192.0.2.1:443 false
`
		first := "user 65532 group 65532 args " + argument + " env PATH=/ HOSTNAME=probe ID=1-2-3\n"
		if out := p.Output(t); !strings.HasPrefix(out, first+want) {
			t.Errorf("it says\n%s\nwant\n%s", out, first+want)
		}
	}
}
