{{/* What `serve` and `migrate` have in common. */}}
{{- define "claviger.container" -}}
{{- $values := .root.Values -}}
image: {{ include "claviger.image" .root }}
command: [claviger, {{ .command }}]
env:
  {{- include "claviger.environment" . | nindent 2 }}
  {{- with $values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
securityContext:
  {{- include "claviger.containerSecurity" .root | nindent 2 }}
{{- with $values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: data
    mountPath: /data
  - name: tmp
    mountPath: /tmp
  {{- if include "claviger.secrets" .root | trim }}
  - name: secrets
    mountPath: /secrets
    readOnly: true
  {{- end }}
  {{- if $values.tls.existingSecret }}
  - name: tls
    mountPath: /tls
    readOnly: true
  {{- end }}
  {{- if include "claviger.migratesAsOwner" . }}
  - name: migration
    mountPath: /migration
    readOnly: true
  {{- end }}
  {{- with $values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* `true` when this container is the one that changes the schema, under a role of its own; else empty. */}}
{{- define "claviger.migratesAsOwner" -}}
{{- if and (eq .command "migrate") (ne .root.Values.database.migration.existingSecret "") }}true{{ end -}}
{{- end -}}

{{/* The settings. Both containers get all of them: `migrate` checks them too, before anything is changed. */}}
{{- define "claviger.environment" -}}
- name: CLAVIGER_LISTEN
  value: 0.0.0.0:50051
- name: CLAVIGER_HTTP_LISTEN
  value: 0.0.0.0:9464
- name: CLAVIGER_DATA
  value: /data
- name: CLAVIGER_LOG_FORMAT
  value: json
{{- include "claviger.tlsEnvironment" .root.Values }}
{{- include "claviger.databaseEnvironment" . }}
{{- include "claviger.keysEnvironment" .root.Values }}
{{- include "claviger.mailEnvironment" .root.Values }}
{{- include "claviger.publicEnvironment" .root.Values }}
{{- end -}}

{{- define "claviger.tlsEnvironment" -}}
{{- if .tls.existingSecret }}
- name: CLAVIGER_TLS_CERTIFICATE_FILE
  value: /tls/tls.crt
- name: CLAVIGER_TLS_KEY_FILE
  value: /tls/tls.key
{{- else }}
# Plaintext beyond loopback has to be asked for.
- name: CLAVIGER_INSECURE
  value: "true"
{{- end }}
{{- if .tls.clientCertificateAuthority.existingSecret }}
- name: CLAVIGER_TLS_CLIENT_CA_FILE
  value: /tls/client-ca.crt
{{- end }}
{{- end -}}

{{- define "claviger.databaseEnvironment" -}}
{{- $database := .root.Values.database -}}
{{- $asOwner := include "claviger.migratesAsOwner" . -}}
{{- if eq $database.mode "postgres" }}
- name: CLAVIGER_DATABASE_URL_FILE
  value: {{ ternary "/migration/database-url" "/secrets/database-url" (eq $asOwner "true") }}
{{- end }}
{{- if and $database.password.existingSecret (not $asOwner) }}
- name: CLAVIGER_DATABASE_PASSWORD_FILE
  value: /secrets/database-password
{{- end }}
{{- with $database.readers }}
- name: CLAVIGER_DATABASE_READERS
  value: {{ . | quote }}
{{- end }}
{{- with $database.writers }}
- name: CLAVIGER_DATABASE_WRITERS
  value: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "claviger.keysEnvironment" -}}
{{- if .pepper.existingSecret }}
- name: CLAVIGER_PEPPER_FILE
  value: /secrets/pepper
{{- end }}
{{- if .kek.existingSecret }}
- name: CLAVIGER_KEK_FILE
  value: /secrets/kek
{{- end }}
{{- if .rootKey.existingSecret }}
- name: CLAVIGER_ROOT_KEY_FILE
  value: /secrets/root-key
{{- end }}
{{- end -}}

{{- define "claviger.mailEnvironment" -}}
{{- with .mail.url }}
- name: CLAVIGER_SMTP_URL
  value: {{ . | quote }}
{{- end }}
{{- if .mail.existingSecret }}
- name: CLAVIGER_SMTP_URL_FILE
  value: /secrets/smtp-url
{{- end }}
{{- with .mail.from }}
- name: CLAVIGER_MAIL_FROM
  value: {{ . | quote }}
{{- end }}
{{- if .mail.password.existingSecret }}
- name: CLAVIGER_SMTP_PASSWORD_FILE
  value: /secrets/smtp-password
{{- end }}
{{- if .mail.certificateAuthority.existingSecret }}
- name: CLAVIGER_SMTP_CA_FILE
  value: /secrets/smtp-ca.crt
{{- end }}
{{- end -}}

{{- define "claviger.publicEnvironment" -}}
{{- with .public.endpoint }}
- name: CLAVIGER_PUBLIC_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- with .public.url }}
- name: CLAVIGER_PUBLIC_URL
  value: {{ . | quote }}
{{- end }}
{{- with .otel.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- if .otel.certificateAuthority.existingSecret }}
- name: OTEL_EXPORTER_OTLP_CERTIFICATE
  value: /secrets/otlp-ca.crt
{{- end }}
{{- end -}}
