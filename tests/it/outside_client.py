"""A client that knows nothing but the address: grpcio, everything else by reflection. Run by outside_clients.rs.

Usage: outside_client.py ADDRESS ROOT_KEY_FILE. Prints one line for each step; the test compares them.
"""

import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status


class Client:
    def __init__(self, channel, secret):
        self.channel = channel
        self.pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        self.metadata = [("authorization", f"Bearer {secret}")]

    def call(self, method, **fields):
        found = self.pool.FindMethodByName(f"claviger.v1.{method}")
        request, response = GetMessageClass(found.input_type), GetMessageClass(found.output_type)
        path = f"/{found.containing_service.full_name}/{found.name}"
        stub = self.channel.unary_unary(path, request.SerializeToString, response.FromString)
        return stub(request(**fields), metadata=self.metadata, timeout=10)

    def verdict(self, secret):
        answer = self.call("VerificationService.Verify", secret=secret)
        return answer.DESCRIPTOR.fields_by_name["verdict"].enum_type.values_by_number[answer.verdict].name


def details(error):
    """The code, and each detail by its type."""
    status = rpc_status.from_call(error)
    found = {}
    for packed in status.details:
        message = getattr(error_details_pb2, packed.type_url.rpartition(".")[2])()
        assert packed.Unpack(message), packed.type_url
        found[type(message).__name__] = message
    return error.code().name, found


def main(address, key_file):
    with open(key_file, encoding="ascii") as file:
        secret = file.read().strip()
    with grpc.insecure_channel(address) as channel:
        root = Client(channel, secret)
        tenant = root.call("TenantService.CreateTenant", tenant_id="acme", tenant={"display_name": "Acme"}).tenant
        owner = root.call(
            "ServiceUserService.CreateServiceUser",
            parent=tenant.name,
            service_user_id="billing",
            service_user={"display_name": "Billing"},
        ).service_user
        print("owner", owner.name)

        made = root.call("KeyService.CreateKey", parent=owner.name, key={"display_name": "a key", "scopes": ["pay"]})
        print("created", root.verdict(made.secret))
        root.call("KeyService.RevokeKey", name=made.key.name, reason="no longer used")
        print("revoked", root.verdict(made.secret))

        try:
            for _ in range(11):
                root.call("KeyService.CreateKey", parent=owner.name, key={"display_name": "another"})
        except grpc.RpcError as error:
            code, found = details(error)
            print("limit", code, found["ErrorInfo"].reason, found["QuotaFailure"].violations[0].subject)
        try:
            root.call("KeyService.CreateKey", parent="nonsense", key={"display_name": ""})
        except grpc.RpcError as error:
            code, found = details(error)
            fields = sorted(violation.field for violation in found["BadRequest"].field_violations)
            print("invalid", code, found["ErrorInfo"].reason, ",".join(fields))
        try:
            Client(channel, "nonsense").call("TenantService.ListTenants")
        except grpc.RpcError as error:
            code, found = details(error)
            print("stranger", code, found["ErrorInfo"].reason, found["ErrorInfo"].domain)


main(*sys.argv[1:])
