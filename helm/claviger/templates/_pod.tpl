{{/* The pod, the same in both modes but for the volume at /data. */}}
{{- define "claviger.pod" -}}
metadata:
  labels:
    {{- include "claviger.labels" . | nindent 4 }}
spec:
  # Kubernetes would set CLAVIGER_PORT and the like for a Service named claviger, and unknown settings are errors.
  enableServiceLinks: false
  serviceAccountName: {{ include "claviger.fullname" . }}
  automountServiceAccountToken: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    # The default would open files of the volume, root.key among them, to the group at every start.
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  # Longer than the preStop sleep (5 s) and the service's drain (10 s) together.
  terminationGracePeriodSeconds: 30
  initContainers:
    # `serve` refuses a schema of another version. Safe in every pod at once, and a no-op when there is nothing to do.
    - name: migrate
      {{- include "claviger.container" (dict "root" . "command" "migrate") | nindent 6 }}
  containers:
    - name: claviger
      {{- include "claviger.container" (dict "root" . "command" "serve") | nindent 6 }}
      ports:
        - name: grpc
          containerPort: 50051
        - name: http
          containerPort: 9464
      # Loading a million keys takes a while: up to five minutes.
      startupProbe:
        grpc:
          port: 50051
          service: ""
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 150
      # Lenient: a restart empties the mirror, so only a process that hangs for two minutes deserves one.
      # Not by health: while the database is away for long, Verify is refused, and a restart would only lose the mirror.
      livenessProbe:
        tcpSocket:
          port: grpc
        periodSeconds: 20
        timeoutSeconds: 5
        failureThreshold: 6
      # Serving means: the mirror is loaded and not stale.
      readinessProbe:
        grpc:
          port: 50051
          service: claviger.v1.VerificationService
        periodSeconds: 5
        timeoutSeconds: 2
        failureThreshold: 2
      lifecycle:
        preStop:
          # Until every client has heard that this pod is leaving, it goes on answering.
          sleep:
            seconds: 5
  volumes:
    # Temporary files (SQLite makes some): the root file system is read-only.
    - name: tmp
      emptyDir: {}
    {{- if eq .Values.database.mode "postgres" }}
    # Nothing that has to last; with SQLite it is the StatefulSet's claim.
    - name: data
      emptyDir: {}
    {{- end }}
    {{- with include "claviger.secrets" . | trim }}
    - name: secrets
      projected:
        # Readable through fsGroup: the files belong to root.
        defaultMode: 0440
        sources:
          {{- . | nindent 10 }}
    {{- end }}
    {{- if .Values.database.migration.existingSecret }}
    # Not among the others: the container that serves doesn't get it.
    - name: migration
      projected:
        defaultMode: 0440
        sources:
          {{- include "claviger.secretFile" (dict "from" .Values.database.migration "file" "database-url") | nindent 10 }}
    {{- end }}
{{- end -}}

{{/* What `serve` and `migrate` have in common. */}}
{{- define "claviger.container" -}}
{{- $values := .root.Values -}}
{{- $migrates := and (eq .command "migrate") (ne $values.database.migration.existingSecret "") -}}
image: {{ include "claviger.image" .root }}
command: [claviger, {{ .command }}]
env:
  - name: CLAVIGER_LISTEN
    value: 0.0.0.0:50051
  - name: CLAVIGER_HTTP_LISTEN
    value: 0.0.0.0:9464
  # Plaintext beyond loopback has to be asked for. TLS comes from a service mesh until the service does it itself.
  - name: CLAVIGER_INSECURE
    value: "true"
  - name: CLAVIGER_DATA
    value: /data
  - name: CLAVIGER_LOG_FORMAT
    value: json
  {{- if eq $values.database.mode "postgres" }}
  - name: CLAVIGER_DATABASE_URL_FILE
    value: {{ ternary "/migration/database-url" "/secrets/database-url" $migrates }}
  {{- end }}
  {{- if and $values.database.password.existingSecret (not $migrates) }}
  - name: CLAVIGER_DATABASE_PASSWORD_FILE
    value: /secrets/database-password
  {{- end }}
  {{- with $values.database.readers }}
  - name: CLAVIGER_DATABASE_READERS
    value: {{ . | quote }}
  {{- end }}
  {{- with $values.database.writers }}
  - name: CLAVIGER_DATABASE_WRITERS
    value: {{ . | quote }}
  {{- end }}
  {{- if $values.pepper.existingSecret }}
  - name: CLAVIGER_PEPPER_FILE
    value: /secrets/pepper
  {{- end }}
  {{- if $values.kek.existingSecret }}
  - name: CLAVIGER_KEK_FILE
    value: /secrets/kek
  {{- end }}
  {{- if $values.rootKey.existingSecret }}
  - name: CLAVIGER_ROOT_KEY_FILE
    value: /secrets/root-key
  {{- end }}
  {{- with $values.mail.url }}
  - name: CLAVIGER_SMTP_URL
    value: {{ . | quote }}
  - name: CLAVIGER_MAIL_FROM
    value: {{ $values.mail.from | quote }}
  {{- end }}
  {{- if $values.mail.existingSecret }}
  - name: CLAVIGER_SMTP_PASSWORD_FILE
    value: /secrets/smtp-password
  {{- end }}
  {{- with $values.public.endpoint }}
  - name: CLAVIGER_PUBLIC_ENDPOINT
    value: {{ . | quote }}
  {{- end }}
  {{- with $values.public.url }}
  - name: CLAVIGER_PUBLIC_URL
    value: {{ . | quote }}
  {{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- with $values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: data
    mountPath: /data
  - name: tmp
    mountPath: /tmp
  {{- if include "claviger.secrets" .root }}
  - name: secrets
    mountPath: /secrets
    readOnly: true
  {{- end }}
  {{- if $migrates }}
  - name: migration
    mountPath: /migration
    readOnly: true
  {{- end }}
{{- end -}}

{{/* The Secrets that become files in /secrets; empty when there is none. */}}
{{- define "claviger.secrets" -}}
{{- if eq .Values.database.mode "postgres" }}
{{ include "claviger.secretFile" (dict "from" .Values.database "file" "database-url") }}
{{- end }}
{{- if .Values.database.password.existingSecret }}
{{ include "claviger.secretFile" (dict "from" .Values.database.password "file" "database-password") }}
{{- end }}
{{- if .Values.database.certificateAuthority.existingSecret }}
{{ include "claviger.secretFile" (dict "from" .Values.database.certificateAuthority "file" "database-ca.crt") }}
{{- end }}
{{- if .Values.pepper.existingSecret }}
{{ include "claviger.secretFile" (dict "from" .Values.pepper "file" "pepper") }}
{{- end }}
{{- if .Values.kek.existingSecret }}
{{ include "claviger.secretFile" (dict "from" .Values.kek "file" "kek") }}
{{- end }}
{{- if .Values.rootKey.existingSecret }}
{{ include "claviger.secretFile" (dict "from" .Values.rootKey "file" "root-key") }}
{{- end }}
{{- if .Values.mail.existingSecret }}
{{ include "claviger.secretFile" (dict "from" .Values.mail "file" "smtp-password") }}
{{- end }}
{{- end -}}

{{- define "claviger.secretFile" -}}
- secret:
    name: {{ .from.existingSecret }}
    items:
      - key: {{ .from.secretKey }}
        path: {{ .file }}
{{- end -}}
