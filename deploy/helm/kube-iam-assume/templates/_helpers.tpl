{{/* The exporter's name: that of its service account, and of all it owns. */}}
{{- define "exporter.name" -}}
{{- last (splitList "/" .Values.serviceAccount) -}}
{{- end -}}

{{/* An exporter that runs as another account than the enrolled one is believed by nobody, which shows late. */}}
{{- define "exporter.checkNamespace" -}}
{{- $enrolled := first (splitList "/" .Values.serviceAccount) -}}
{{- if ne $enrolled .Release.Namespace -}}
{{- fail (printf "serviceAccount is %s, but the release goes to namespace %s. Install it with --namespace %s --create-namespace; or set serviceAccount to %s/%s, and exporterServiceAccount in the cluster's file at every publisher to the same." .Values.serviceAccount .Release.Namespace $enrolled .Release.Namespace (include "exporter.name" .)) -}}
{{- end -}}
{{- end -}}

{{/* What selects a workload's pods; never changes. Arguments: root, component. */}}
{{- define "selector" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- define "labels" -}}
{{ include "selector" . }}
app.kubernetes.io/part-of: kube-iam-assume
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* An image by digest, or by tag. Arguments: root, image. */}}
{{- define "image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* OpenShift gives every namespace its own user IDs, and refuses others. */}}
{{- define "podSecurityContext" -}}
runAsNonRoot: true
{{- if not (.Capabilities.APIVersions.Has "security.openshift.io/v1") }}
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Where pods may go. Argument: the workload's values. */}}
{{- define "scheduling" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}

{{/* A projected source with further authorities, beside the settings. Arguments: bundle, configMap (which has an inline one). */}}
{{- define "caBundleSource" -}}
{{- if .bundle.configMap }}
- configMap: {name: {{ .bundle.configMap.name }}, items: [{key: {{ .bundle.configMap.key | quote }}, path: ca-bundle.crt}]}
{{- else if .bundle.secret }}
- secret: {name: {{ .bundle.secret.name }}, items: [{key: {{ .bundle.secret.key | quote }}, path: ca-bundle.crt}]}
{{- end }}
{{- end -}}

{{/* The Google providers of all destinations, each once: one token has one audience. */}}
{{- define "exporter.googleProviders" -}}
{{- $providers := list -}}
{{- range .Values.destinations -}}
{{- with .pubsub -}}{{- $providers = append $providers .provider -}}{{- end -}}
{{- end -}}
{{- toYaml ($providers | uniq) -}}
{{- end -}}

{{/* The folder of the token for the provider of a number. */}}
{{- define "exporter.googleFolder" -}}
pubsub{{ if gt (int .) 0 }}-{{ add1 . }}{{ end }}
{{- end -}}

{{/* The tokens that the exporter logs in with at the clouds: where the kubelet keeps each, and for whom. */}}
{{- define "exporter.tokens" -}}
{{- $kinds := dict -}}
{{- range .Values.destinations -}}{{- range $kind, $_ := . -}}{{- $_ := set $kinds $kind true -}}{{- end -}}{{- end -}}
{{- if $kinds.sqs }}
- serviceAccountToken: {path: sqs/token, audience: sts.amazonaws.com, expirationSeconds: 3600}
{{- end }}
{{- range $i, $provider := include "exporter.googleProviders" . | fromYamlArray }}
- serviceAccountToken: {path: {{ include "exporter.googleFolder" $i }}/token, audience: "https://iam.googleapis.com/{{ $provider }}", expirationSeconds: 3600}
{{- end }}
{{- if $kinds.storageQueue }}
- serviceAccountToken: {path: storage-queue/token, audience: "api://AzureADTokenExchange", expirationSeconds: 3600}
{{- end }}
{{- end -}}

{{/* The destinations, with the file of every token that is not where the exporter looks by itself. */}}
{{- define "exporter.destinations" -}}
{{- $providers := include "exporter.googleProviders" . | fromYamlArray -}}
{{- $all := list -}}
{{- range .Values.destinations -}}
{{- $destination := deepCopy . -}}
{{- with $destination.pubsub -}}
{{- $provider := .provider -}}
{{- range $i, $known := $providers -}}
{{- if and (gt $i 0) (eq $known $provider) -}}
{{- $_ := set $destination.pubsub "tokenFile" (printf "/var/run/secrets/kube-iam-assume/%s/token" (include "exporter.googleFolder" $i)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $all = append $all $destination -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* exporter.yaml. */}}
{{- define "exporter.settings" -}}
apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Exporter
cluster: {{ .Values.cluster | quote }}
issuer: {{ .Values.issuer | quote }}
serviceAccount: {{ .Values.serviceAccount | quote }}
{{- with .Values.pollInterval }}
pollInterval: {{ . }}
{{- end }}
{{- with .Values.heartbeatInterval }}
heartbeatInterval: {{ . }}
{{- end }}
{{- with .Values.apiServers }}
apiServers: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.proxy }}
proxy: {{ . | quote }}
{{- end }}
{{- if .Values.caBundle }}
caBundle: /etc/kube-iam-assume/ca-bundle.crt
{{- end }}
destinations: {{- include "exporter.destinations" . | nindent 0 }}
{{- end -}}

{{/* The port of a URL. */}}
{{- define "port" -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- if $port -}}{{ $port }}{{- else if eq $url.scheme "http" -}}80{{- else if eq $url.scheme "socks5" -}}1080{{- else -}}443{{- end -}}
{{- end -}}

{{/* The ports that destinations are at, each once. */}}
{{- define "exporter.destinationPorts" -}}
{{- $ports := .Values.networkPolicy.destinationPorts -}}
{{- if .Values.proxy -}}
{{- $ports = append $ports (include "port" .Values.proxy | int) -}}
{{- end -}}
{{- range .Values.destinations -}}
{{- with .webhook -}}{{- $ports = append $ports (include "port" .url | int) -}}{{- end -}}
{{- with .sqs -}}{{- $ports = concat $ports (list (include "port" .url | int) 443) -}}{{- end -}}
{{- with .pubsub -}}{{- $ports = append $ports 443 -}}{{- end -}}
{{- with .storageQueue -}}{{- $ports = concat $ports (list (include "port" .url | int) 443) -}}{{- end -}}
{{- end -}}
{{- $numbers := list -}}
{{- range $ports -}}{{- $numbers = append $numbers (int .) -}}{{- end -}}
{{- toYaml ($numbers | uniq) -}}
{{- end -}}

{{/* publisher.yaml. */}}
{{- define "publisher.settings" -}}
apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Publisher
{{ toYaml .Values.publisher.settings }}
clusters: {directory: clusters/}
{{- end -}}

{{/* The hosts of the issuers' URLs, each once. */}}
{{- define "publisher.hosts" -}}
{{- $hosts := list -}}
{{- range .Values.publisher.settings.issuers -}}
{{- $hosts = append $hosts (regexReplaceAll ":[0-9]+$" (urlParse .url).host "") -}}
{{- end -}}
{{- toYaml ($hosts | uniq) -}}
{{- end -}}
