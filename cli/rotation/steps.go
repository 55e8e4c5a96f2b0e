package rotation

import "github.com/kube-iam-assume/kube-iam-assume/cli/distribution"

// way is how a distribution changes its key. The steps before and after are the same for all that take a key from a person.
type way struct {
	caution  string
	steps    []Step
	ownKey   bool   // the distribution makes the key itself, so that nobody can announce it before
	makeKey  string // how to make the key, if not as usual
	remove   []Step // takes the old public key off the API servers
	finished string // what the last step says
}

func before(w way) []Step {
	steps := []Step{{
		Title: "See that all is well now", Why: "A rotation on top of a fault is two faults. Every API server must answer at its own address.",
		Run: []string{"kube-iam-assume doctor --issuer ISSUER", "kube-iam-assume rotation status --url ISSUER"},
	}}
	if w.ownKey {
		return steps
	}
	generate := w.makeKey
	if generate == "" {
		generate = "openssl genrsa -out sa-new.key 2048"
	}
	return append(steps, Step{
		Title: "Make the new key", Why: "RSA-2048 is accepted everywhere. Do it on a control plane node, in memory (/dev/shm), and let the private key go to no other machine than control plane nodes.",
		Run: []string{"umask 077 && cd /dev/shm", generate, "openssl pkey -in sa-new.key -pubout -out sa-new.pub"},
	}, Step{
		Title: "Announce the public key to every publisher", Why: "It is published and trusted before anything is signed with it. It lapses in 7 days if no API server lists it.",
		Run: []string{"kube-iam-assume rotation announce --issuer ISSUER --cluster CLUSTER --key-file sa-new.pub --reason rotation"},
	}, Step{
		Title: "Wait until every consumer can have it", Why: "Give every mirror as a further --url. Consumers that got the keys by upload must get them again now.",
		Run: []string{"kube-iam-assume rotation wait --until published --key-file sa-new.pub --url ISSUER"},
	})
}

func after(w way) []Step {
	steps := []Step{{
		Title: "Wait until nothing lives that the old key signed", Why: "The ID of the old key is in the output of `rotation status` from step 1.",
		Run: []string{"kube-iam-assume rotation wait --until unused --key-id OLD-KEY-ID"},
	}}
	steps = append(steps, w.remove...)
	last := w.finished
	if last == "" {
		last = "The old key retires by itself after the publisher's retention. Take the new one out of announcedKeys in the settings, if you put it there, and destroy sa-new.key."
	}
	return append(steps, Step{
		Title: "See that it is over", Why: last,
		Run: []string{"kube-iam-assume doctor --issuer ISSUER", "kube-iam-assume history"},
	})
}

// wayOf is the generic one where a distribution has no steps of its own.
func wayOf(name distribution.Name) way {
	switch name {
	case distribution.Kubeadm:
		return kubeadmFiles().way()
	case distribution.Kind:
		return kindFiles().way()
	case distribution.Minikube:
		return minikubeFiles().way()
	case distribution.K0s:
		return k0sFiles().way()
	case distribution.MicroK8s:
		return microk8sWay()
	case distribution.K3s:
		return k3sWay("k3s", "k3s")
	case distribution.RKE2:
		return k3sWay("rke2", "rke2-server")
	case distribution.Talos:
		return talosWay()
	case distribution.OpenShift:
		return openshiftWay()
	default:
		return genericWay()
	}
}

// inside are the tokens that only the cluster itself accepts, which must be gone before the old public key goes.
var inside = Step{
	Title: "Renew what still holds old tokens inside the cluster",
	Why:   "Pods' default tokens are renewed within the hour by the kubelet; programs that read theirs once need a restart. Tokens in secrets never end: delete each secret that `rotation wait` listed and let its user have a new one.",
	Run:   []string{"kubectl get secrets -A --field-selector type=kubernetes.io/service-account-token"},
}

func genericWay() way {
	return way{
		steps: []Step{{
			Title: "Let every API server accept the new key, one after the other",
			Why:   "Each must list it before any signs with it, or they refuse each other's tokens. Restart one, wait for its /readyz, go on with the next.",
			Run:   []string{"# add to kube-apiserver: --service-account-key-file=/path/sa-new.pub  (keep the old flag)", "kube-iam-assume rotation status"},
		}, {
			Title: "Let every API server sign with it, one after the other",
			Run:   []string{"# kube-apiserver: --service-account-signing-key-file=/path/sa-new.key", "kube-iam-assume rotation status"},
		}, {
			Title: "Give it to every controller-manager", Why: "It signs the tokens in secrets, and those are refused once the old public key has left.",
			Run: []string{"# kube-controller-manager: --service-account-private-key-file=/path/sa-new.key"},
		}, {
			Title: "Give it to what makes new control plane nodes", Why: "An image, a script or a secret with the old key would bring it back with the next node.",
		}},
		remove: []Step{inside, {
			Title: "Take the old public key off every API server, one after the other",
			Run:   []string{"# kube-apiserver: remove the old --service-account-key-file", "kube-iam-assume rotation status"},
		}},
	}
}

// k3sWay has three rounds, as the file's first key signs and all are accepted: a key can be listed before it signs.
func k3sWay(name, service string) way {
	present := "/var/lib/rancher/" + name + "/server/tls/"
	next := "/opt/" + name + "/server/tls/service.key"
	rotate := name + " certificate rotate-ca --path=/opt/" + name + "/server"
	restart := "systemctl restart " + service + "   # this server, then every other one"
	status := "kube-iam-assume rotation status --url ISSUER --exporter-service-account default/default"
	return way{
		caution: "The documentation of " + name + " puts the new key first at once, which adds it and signs with it in one step. The three rounds below list it first. Keep the order in the file, and do not go on from round one before `rotation status` shows both keys on every server, and the old one signing.",
		makeKey: "openssl genrsa -traditional -out sa-new.key 2048",
		steps: []Step{{
			Title: "Round one: put the new key behind the old one, on one server, and restart every server",
			Why:   "The file holds private keys. The first one signs, all are accepted and listed. It goes into the datastore, from which the others, new ones too, and the controller-manager in each take it when they start. Restart without a pause in between.",
			Run:   []string{"mkdir -p /opt/" + name + "/server/tls", "cat " + present + "service.key /dev/shm/sa-new.key > " + next, rotate, restart, status},
		}, {
			Title: "Round two, a day later: put the new key first, on the same server, and restart every server",
			Why:   "Now everything signs with it. Every server accepts it already, so none refuses what another signs.",
			Run:   []string{"cp " + present + "service.current.key /dev/shm/sa-old.key", "cat /dev/shm/sa-new.key /dev/shm/sa-old.key > " + next, rotate, restart, status},
		}},
		remove: []Step{inside, {
			Title: "Round three: take the old key away, on the same server, and restart every server",
			Run:   []string{"cp /dev/shm/sa-new.key " + next, rotate, restart, "shred -u " + next + " /dev/shm/sa-new.key /dev/shm/sa-old.key", "kube-iam-assume rotation status"},
		}},
		finished: "The old key retires by itself after the publisher's retention. Take the new one out of announcedKeys in the settings, if you put it there.",
	}
}

func talosWay() way {
	return way{
		caution: "Before Talos 1.14 an API server can have one key only: while the nodes change one after the other they refuse each other's tokens, and every token inside the cluster is renewed with errors. Upgrade to 1.14 first, if you can. The announcement keeps clouds out of the trouble either way.",
		steps: []Step{{
			Title: "Talos 1.14 and newer: let every API server accept the new key",
			Why:   "A patch of the machine configuration of every control plane node. The document takes the place of cluster.serviceAccount, and Talos refuses one beside the other; set audiences to what they are, or they become the issuer.",
			Run: []string{
				"# patch.yaml: {apiVersion: v1alpha1, kind: KubeServiceAccountConfig, issuer: {privateKey: <present key>, issuerURL: ISSUER}, accepted: {publicKeys: [<sa-new.pub>], issuers: [<old issuer>], audiences: [<present ones>]}}",
				"talosctl patch machineconfig --nodes NODE --patch @patch.yaml   # every control plane node, one after the other",
				"kube-iam-assume rotation status",
			},
		}, {
			Title: "Talos 1.14 and newer: sign with it, and go on accepting the old one",
			Run: []string{
				"# patch.yaml: issuer.privateKey: <sa-new.key>, accepted.publicKeys: [<old public key>]",
				"talosctl patch machineconfig --nodes NODE --patch @patch.yaml   # one after the other", "kube-iam-assume rotation status",
			},
		}, {
			Title: "Talos before 1.14: change the key on every control plane node, quickly, one after the other",
			Why:   "cluster.serviceAccount.key is the private key in base64; API server and controller-manager of the node take it. Do it in a maintenance window.",
			Run:   []string{"talosctl patch machineconfig --nodes NODE --patch '[{\"op\":\"replace\",\"path\":\"/cluster/serviceAccount/key\",\"value\":\"BASE64\"}]'"},
		}, {
			Title: "Give it to new control plane nodes", Why: "Change it in secrets.yaml or in whatever generates the machine configurations, or the next node brings the old key back.",
		}},
		remove: []Step{inside, {
			Title: "Talos 1.14 and newer: take the old public key out of accepted.publicKeys",
			Run:   []string{"talosctl patch machineconfig --nodes NODE --patch @patch.yaml   # one after the other", "kube-iam-assume rotation status"},
		}},
	}
}

func openshiftWay() way {
	return way{
		ownKey:  true,
		caution: "OpenShift makes the key itself, and signs with it when all masters have it, whether clouds have seen it or not. The exporter reports it as soon as the first master lists it; see that exporter and publishers are well before you begin.",
		steps: []Step{{
			Title: "Let the operator make a new key",
			Why:   "It makes the key, adds the public half to every master, and then switches. Controller-manager and new masters get theirs from it.",
			Run:   []string{"oc delete secret next-bound-service-account-signing-key -n openshift-kube-apiserver-operator"},
		}, {
			Title: "Find its ID, and see that it is published before the roll-out is over",
			Why:   "The roll-out takes minutes for every master. If the key is not published when half of them are done, announce it from the JWKS of an API server.",
			Run: []string{
				"kube-iam-assume rotation status --url ISSUER", "kube-iam-assume rotation wait --until published --key-id NEW-KEY-ID --url ISSUER --cache-time 0s",
				"kubectl get --raw /openid/v1/jwks > keys.json   # with `rotation announce --key-file keys.json`, if it is not",
			},
		}, {
			Title: "Wait for the roll-out", Run: []string{"oc adm wait-for-stable-cluster", "kube-iam-assume rotation status"},
		}},
		remove:   []Step{inside},
		finished: "OpenShift never removes old public keys, so they go on being listed and published. To have one refused outside: `kube-iam-assume revoke`.",
	}
}
