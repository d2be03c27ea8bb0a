"""What ships: a ticket's network and graph, as small as its masks allow."""
