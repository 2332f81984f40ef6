{{/* One name for everything, so that `helm install NAME charts/trainyard` gives objects with the same names for every NAME. */}}
{{- define "trainyard.name" -}}trainyard{{- end }}

{{- define "trainyard.selectorLabels" -}}
app.kubernetes.io/name: trainyard
app.kubernetes.io/component: operator
{{- end }}

{{- define "trainyard.labels" -}}
app.kubernetes.io/name: trainyard
app.kubernetes.io/part-of: trainyard
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "trainyard.operatorImage" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "trainyard.trainingImage" -}}
{{ .Values.training.image.repository }}:{{ .Values.training.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "trainyard.keySecret" -}}
{{ .Values.operatorKey.existingSecret | default "trainyard-operator-key" }}
{{- end }}

{{/* The rules of a Role or ClusterRole in manifests/rbac: (list . "files/rbac/operator.yaml" index-of-document). */}}
{{- define "trainyard.rules" -}}
{{- $root := index . 0 -}}
{{- $documents := splitList "\n---\n" ($root.Files.Get (index . 1)) -}}
{{- (index $documents (index . 2) | fromYaml).rules | toYaml -}}
{{- end }}
