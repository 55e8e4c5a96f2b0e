package rotation

// keyFiles is where a distribution keeps kubeadm's two files, sa.key and sa.pub, and how its programs come to read them anew.
type keyFiles struct {
	run          func(script string) string // has a node do it
	folder       string
	accept, sign []string // restart the API server; it and the controller-manager
	howItReads   string
	bring        []string // the files to the other nodes
	joining      Step     // what new control plane nodes copy
	finished     string
}

// restart works as the kubelet starts a static pod's container again, which then reads its files anew.
func restart(program string) string {
	return "crictl ps --name " + program + " -q | xargs -r crictl stop"
}

func kubeadmFiles() keyFiles {
	return keyFiles{
		run: func(script string) string { return script }, folder: "/etc/kubernetes/pki",
		accept: []string{restart("kube-apiserver")}, sign: []string{restart("kube-apiserver"), restart("kube-controller-manager")},
		howItReads: "The API server reads it at its start: stop its container, and the kubelet starts it again.",
		bring:      []string{"scp sa-new.pub sa-new.key root@NODE:/dev/shm/   # to each of the others"},
		joining: Step{
			Title: "Give it to new control plane nodes", Why: "They copy sa.key and sa.pub from the secret kubeadm-certs, which ends after two hours, or from your own copies.",
			Run: []string{"kubeadm init phase upload-certs --upload-certs   # before the next join, with the new certificate key"},
		},
	}
}

// within has a shell on each node do it. There is no quote in a script.
func (k keyFiles) within(before, after string) keyFiles {
	k.run = func(script string) string { return before + "sh -c '" + script + "'" + after }
	for _, list := range [][]string{k.accept, k.sign} {
		for i := range list {
			list[i] = k.run(list[i])
		}
	}
	return k
}

// kindFiles are kubeadm's, on nodes that are containers.
func kindFiles() keyFiles {
	k := kubeadmFiles().within("docker exec NODE ", "")
	k.joining.Run = []string{k.run("kubeadm init phase upload-certs --upload-certs") + "   # before the next join, with the new certificate key"}
	k.bring = []string{"docker cp sa-new.pub NODE:/dev/shm/ && docker cp sa-new.key NODE:/dev/shm/"}
	k.finished = "The old key retires by itself after the publisher's retention. If extraMounts give the nodes their sa.key and sa.pub, change the files outside, or they come back with the next cluster."
	return k
}

// minikubeFiles are kubeadm's, in another folder. minikube ssh joins its arguments with spaces, so the script is one.
func minikubeFiles() keyFiles {
	k := kubeadmFiles().within(`minikube ssh -n NODE "sudo `, `"`)
	k.folder = "/var/lib/minikube/certs"
	k.bring = []string{"minikube cp sa-new.pub NODE:/dev/shm/sa-new.pub && minikube cp sa-new.key NODE:/dev/shm/sa-new.key   # to every control plane node"}
	k.joining = Step{
		Title: "Give it to new control plane nodes", Why: "See what one signs with when it has come; a cluster that is made anew has a key of its own, and must be enrolled again.",
		Run: []string{"kube-iam-assume rotation status   # after minikube node add --control-plane"},
	}
	return k
}

// k0sFiles are read when k0s starts, which has API server and controller-manager in it. It leaves a pair alone that is there.
func k0sFiles() keyFiles {
	k := kubeadmFiles()
	k.folder = "/var/lib/k0s/pki"
	k.accept, k.sign = []string{"systemctl restart k0scontroller"}, []string{"systemctl restart k0scontroller"}
	k.howItReads = "k0s reads it at its start."
	k.joining = Step{
		Title: "Give it to new controllers", Why: "One that joins takes the pair from the controller that the token names. If you copy files or bake images yourself, change them there, too.",
		Run: []string{"kube-iam-assume rotation status   # after a controller has joined"},
	}
	return k
}

func (k keyFiles) way() way {
	public, private := k.folder+"/sa.pub", k.folder+"/sa.key"
	old := func(file string) string { return file + ".old" }
	status := "kube-iam-assume rotation status"
	steps := func(script string, restarts []string, last ...string) []string {
		return append(append([]string{k.run(script)}, restarts...), append(last, status)...)
	}
	return way{
		finished: k.finished,
		steps: []Step{{Title: "Bring both files to every control plane node", Run: k.bring}, {
			Title: "Let every API server accept the new key, one control plane node after the other",
			Why:   "sa.pub may hold several public keys. " + k.howItReads + " Wait for its /readyz before the next node.",
			Run:   steps("cp -a "+public+" "+old(public)+" && cat /dev/shm/sa-new.pub >> "+public, k.accept),
		}, {
			Title: "Let every API server and controller-manager sign with it, one node after the other",
			Why:   "Both read sa.key. The new public key comes first in sa.pub: kubeadm takes the first one for sa.key's.",
			Run:   steps("cat /dev/shm/sa-new.pub "+old(public)+" > "+public+" && cp -a "+private+" "+old(private)+" && cat /dev/shm/sa-new.key > "+private, k.sign),
		}, k.joining},
		remove: []Step{inside, {
			Title: "Take the old public key off every API server, one node after the other",
			Run:   steps("cat /dev/shm/sa-new.pub > "+public, k.accept, k.run("shred -u "+old(private)+"; rm "+old(public))),
		}},
	}
}

// microk8sWay has one private key for all flags, and a line of arguments more while there are two.
func microk8sWay() way {
	const folder, arguments = "/var/snap/microk8s/current/certs/", "/var/snap/microk8s/current/args/kube-apiserver"
	restart, status := "snap restart microk8s.daemon-kubelite", "kube-iam-assume rotation status"
	return way{
		steps: []Step{{
			Title: "Bring both files to every control plane node", Run: []string{"scp sa-new.pub sa-new.key root@NODE:/dev/shm/   # to each of the others"},
		}, {
			Title: "Let every API server accept the new key, one node after the other",
			Why:   "Nodes do not follow each other's arguments. With the flag twice both files count: the new public key, and serviceaccount.key, whose public half is listed so far.",
			Run: []string{
				"cp /dev/shm/sa-new.pub " + folder + " && openssl pkey -in " + folder + "serviceaccount.key -pubout -out " + folder + "sa-old.pub",
				"echo '--service-account-key-file=${SNAP_DATA}/certs/sa-new.pub' >> " + arguments, restart, status,
			},
		}, {
			Title: "Let every API server and controller-manager sign with it, one node after the other",
			Why:   "Both are in kubelite, and read serviceaccount.key. Its public half is the new key now, so the line more is for the old one.",
			Run: []string{
				"cat /dev/shm/sa-new.key > " + folder + "serviceaccount.key", "sed -i s/sa-new.pub/sa-old.pub/ " + arguments, restart, status,
			},
		}, {
			Title: "Give it to new control plane nodes", Why: "A node that joins has its own arguments: add the line of before there, and see what it signs with.",
			Run: []string{status + "   # after microk8s join"},
		}},
		remove: []Step{inside, {
			Title: "Take the old public key off every API server, one node after the other",
			Run:   []string{"sed -i /sa-old.pub/d " + arguments + " && rm " + folder + "sa-old.pub " + folder + "sa-new.pub", restart, status},
		}},
	}
}
