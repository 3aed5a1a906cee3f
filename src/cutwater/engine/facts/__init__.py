"""Facts and wishes that the processes of a cluster tell each other over the fabric, each replacing the last.

Everything here is level-triggered: a beat says all that is the case, an assignment all that is wanted. So whatever was
lost on the way, or restarted, is put right by the next one.

    state bucket       model.MODEL            ModelRecord       the coordinator, for good
                       deployment.MODEL       DeploymentRecord  the coordinator, for its successor
                       node.NODE              Announcement      each node
                       assign.NODE            Assignment        coordinator -> node
                       routes.GATEWAY.MODEL   RouteTable        coordinator -> gateway
                       link.A.B               MeasuredLink      node A, about the way from A to B
                       drain.NODE             Note              the coordinator: nothing shall run there
                       revoked.NODE           Note              the coordinator: it belongs to the cluster no more
                       stored                 stage files       the coordinator, for its successor
                       revocations            signed list       whoever runs the authority
    leases bucket      coordinator, node.NODE, gateway.GATEWAY  who is who, while alive
    subjects           beat.node.NODE         NodeBeat          twice a second, and at every change; once while idle
                       beat.gateway.GATEWAY   GatewayBeat       twice a second, and at every change
                       ask.coordinator        requests of people and gateways, answered by the active coordinator
                       ask.node.NODE          requests to one node
                       notes                  Note              what happened, for people
"""
