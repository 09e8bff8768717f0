"""An AMQP client for tests, of the package pika, so that newswire's own client is not tested with itself.

    amqp.py ADDRESS PORT

Each line of standard input is an order, as JSON; the answer is one line of JSON on standard output.
"""
import json
import sys

import pika

# Without heartbeats: between two orders it does not answer any.
parameters = pika.ConnectionParameters(sys.argv[1], int(sys.argv[2]), socket_timeout=20, heartbeat=0)
connection = pika.BlockingConnection(parameters)
channel = connection.channel()
confirmed = connection.channel()
confirmed.confirm_delivery()


def carry_out(order):
    name = order["do"]
    if name == "publish":
        # As the pusher of gos/web-socket-bundle publishes: not mandatory, transient.
        properties = pika.BasicProperties(content_type="text/plain", delivery_mode=order.get("mode", 1))
        publisher = confirmed if order.get("confirm") else channel
        for body in order["bodies"]:
            publisher.basic_publish(order["exchange"], order.get("key", ""), body.encode(), properties)
    elif name == "declare_exchange":
        channel.exchange_declare(order["exchange"], order.get("type", "direct"), durable=True)
    elif name == "declare_queue":
        channel.queue_declare(order["queue"], durable=True, arguments=order.get("arguments"))
    elif name == "delete_exchange":
        channel.exchange_delete(order["exchange"])
    elif name == "delete_queue":
        channel.queue_delete(order["queue"])
    elif name == "count":
        return channel.queue_declare(order["queue"], passive=True).method.message_count
    return "done"


for line in sys.stdin:
    print(json.dumps(carry_out(json.loads(line))), flush=True)
